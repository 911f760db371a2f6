#define NUTSHELL_LEVEL neon
#define NUTSHELL_NEON 1
#if defined(__aarch64__) && __has_include("../simd/neon.h")
#include "../simd/neon.h"
#include "collect.h"

const nutshell::Level* nutshell::level_neon() {
    static const Level level = neon::collect("neon");
    return &level;
}
#else  // not compiled for this processor family
#include "../types.h"

const nutshell::Level* nutshell::level_neon() { return nullptr; }
#endif
