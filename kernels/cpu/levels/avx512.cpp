#define NUTSHELL_LEVEL avx512
#define NUTSHELL_AVX512 1
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__) && defined(__AVX512VBMI__) && defined(__AVX512VNNI__)
#include "../simd/avx512.h"
#include "collect.h"

const nutshell::Level* nutshell::level_avx512() {
    static const Level level = avx512::collect("avx512");
    return &level;
}
#else  // not compiled for this processor family
#include "../types.h"

const nutshell::Level* nutshell::level_avx512() { return nullptr; }
#endif
