#define NUTSHELL_LEVEL avx2
#define NUTSHELL_AVX2 1
#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include "../simd/avx2.h"
#include "collect.h"

const nutshell::Level* nutshell::level_avx2() {
    static const Level level = avx2::collect("avx2");
    return &level;
}
#else  // not compiled for this processor family
#include "../types.h"

const nutshell::Level* nutshell::level_avx2() { return nullptr; }
#endif
