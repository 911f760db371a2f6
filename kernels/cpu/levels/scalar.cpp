#define NUTSHELL_LEVEL scalar
#define NUTSHELL_SCALAR 1
#include "../simd/scalar.h"
#include "collect.h"

const nutshell::Level* nutshell::level_scalar() {
    static const Level level = scalar::collect("scalar");
    return &level;
}
