// Half-precision numbers one at a time, in plain C++. Static: a copy compiled for AVX-512 must not be linked into the others.
#pragma once
#include <cstdint>
#include <cstring>

namespace nutshell {

static inline float bf16_to_f32(uint16_t h) {
    uint32_t bits = (uint32_t)h << 16;
    float f;
    std::memcpy(&f, &bits, 4);
    return f;
}

static inline float f16_to_f32(uint16_t h) {  // IEEE binary16; subnormals, infinities and NaN included
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = h >> 10 & 31u, fraction = h & 1023u, bits;
    if (exponent == 31) {
        bits = sign | 0x7F800000u | fraction << 13;
    } else if (exponent) {
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    } else {  // zero or subnormal: fraction * 2^-24
        float f = (float)fraction * 5.9604644775390625e-8f;
        std::memcpy(&bits, &f, 4);
        bits |= sign;
    }
    float f;
    std::memcpy(&f, &bits, 4);
    return f;
}

static inline uint16_t f32_to_f16(float f) {  // to nearest, ties to even; too large becomes infinity
    uint32_t bits;
    std::memcpy(&bits, &f, 4);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    bits &= 0x7FFFFFFFu;
    if (bits > 0x7F800000u) return (uint16_t)(sign | 0x7E00u);
    if (bits >= 0x477FF000u) return (uint16_t)(sign | 0x7C00u);  // 65520 and above
    if (bits < 0x38800000u) {                                    // below 2^-14: subnormal
        float scaled;
        std::memcpy(&scaled, &bits, 4);
        scaled += 0.5f;  // the hardware's own rounding puts the 10 bits at the end of the fraction
        std::memcpy(&bits, &scaled, 4);
        return (uint16_t)(sign | (bits - 0x3F000000u));
    }
    uint32_t odd = bits >> 13 & 1u;
    return (uint16_t)(sign | (bits - 0x38000000u + 0xFFFu + odd) >> 13);
}

}  // namespace nutshell
