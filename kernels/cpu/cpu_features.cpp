#include "cpu_features.h"

#include <initializer_list>

#if defined(__x86_64__) || defined(_M_X64)
#define NUTSHELL_X86 1
#ifdef _MSC_VER
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace nutshell {
namespace {

#ifdef NUTSHELL_X86
struct Registers {
    unsigned a, b, c, d;
};

Registers cpuid(unsigned leaf, unsigned sub) {
    Registers r{};
#ifdef _MSC_VER
    int out[4];
    __cpuidex(out, (int)leaf, (int)sub);
    r = {(unsigned)out[0], (unsigned)out[1], (unsigned)out[2], (unsigned)out[3]};
#else
    if (!__get_cpuid_count(leaf, sub, &r.a, &r.b, &r.c, &r.d)) return {};
#endif
    return r;
}

unsigned long long saved_state() {  // the registers that the operating system keeps when it switches threads
#ifdef _MSC_VER
    return _xgetbv(0);
#else
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (unsigned long long)high << 32 | low;
#endif
}

bool has(unsigned word, std::initializer_list<int> bits) {
    for (int bit : bits)
        if (!(word >> bit & 1u)) return false;
    return true;
}

struct X86 {
    bool avx2 = false, avx512 = false;
    X86() {
        const Registers basic = cpuid(1, 0), more = cpuid(7, 0);
        if (!has(basic.c, {12, 27, 28, 29})) return;  // FMA, OSXSAVE, AVX, F16C
        const unsigned long long state = saved_state();
        avx2 = (state & 0x06) == 0x06 && has(more.b, {5, 8});                                 // AVX2, BMI2
        avx512 = avx2 && (state & 0xE6) == 0xE6 && has(more.b, {16, 17, 30, 31})  // F, DQ, BW, VL
                 && has(more.c, {1, 11});                                                     // VBMI, VNNI
    }
};
#endif

bool neon_with_dotprod() {
#if defined(__aarch64__) && defined(__linux__)
    return (getauxval(AT_HWCAP) & (1ul << 20)) != 0;  // HWCAP_ASIMDDP
#elif defined(__aarch64__) || defined(_M_ARM64)
    return true;  // every Apple processor since M1
#else
    return false;
#endif
}

std::vector<const Level*> find() {
    std::vector<const Level*> levels{level_scalar()};
#ifdef NUTSHELL_X86
    const X86 x86;
    if (x86.avx2 && level_avx2()) levels.push_back(level_avx2());
    if (x86.avx512 && level_avx512()) levels.push_back(level_avx512());
#endif
    if (neon_with_dotprod() && level_neon()) levels.push_back(level_neon());
    return levels;
}

}  // namespace

const std::vector<const Level*>& supported_levels() {
    static const std::vector<const Level*> levels = find();
    return levels;
}

}  // namespace nutshell
