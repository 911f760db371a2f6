// First-level codes of SpQR: a tile's 12 bytes are 16 scale codes and 16 zero codes of 3 bits, row r's at bit 3r of its half.
#pragma once
#include <cstdint>
#include <cstring>

#include "panels.h"

namespace nutshell::NUTSHELL_LEVEL {

#if defined(NUTSHELL_AVX512)
// The scale codes (0) or the zero codes (1) of a tile, one per lane; nothing behind the 12 bytes is read.
template <int Which> NUTSHELL_INLINE I fields3(const uint16_t* tile) {
    int64_t bits;
    std::memcpy(&bits, tile + 2 * Which, 8);
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i at = _mm512_add_epi32(_mm512_set1_epi32(16 * Which), _mm512_mullo_epi32(lane, _mm512_set1_epi32(3)));
    return I{_mm512_multishift_epi64_epi8(at, _mm512_set1_epi64(bits))} & I::set1(7);
}
#elif defined(NUTSHELL_AVX2)
template <int Which> NUTSHELL_INLINE I fields3(const uint16_t* tile) {
    int32_t low, high;  // from bit 0 and from bit 16
    std::memcpy(&low, tile + 3 * Which, 4);
    std::memcpy(&high, tile + 3 * Which + 1, 4);
    const __m256i a = _mm256_srlv_epi32(_mm256_set1_epi32(low), _mm256_setr_epi32(0, 3, 6, 9, 12, 15, 18, 21));
    const __m256i b = _mm256_srlv_epi32(_mm256_set1_epi32(high), _mm256_setr_epi32(8, 11, 14, 17, 20, 23, 26, 29));
    return I{a, b} & I::set1(7);
}
#elif defined(NUTSHELL_NEON)
template <int Which> NUTSHELL_INLINE I fields3(const uint16_t* tile) {
    int32_t low, high;
    std::memcpy(&low, tile + 3 * Which, 4);
    std::memcpy(&high, tile + 3 * Which + 1, 4);
    const int32_t steps[4] = {0, -3, -6, -9};
    const int32x4_t step = vld1q_s32(steps);
    const uint32x4_t a = vreinterpretq_u32_s32(vdupq_n_s32(low)), b = vreinterpretq_u32_s32(vdupq_n_s32(high));
    const I r = {{vreinterpretq_s32_u32(vshlq_u32(a, step)),
                  vreinterpretq_s32_u32(vshlq_u32(a, vaddq_s32(step, vdupq_n_s32(-12)))),
                  vreinterpretq_s32_u32(vshlq_u32(b, vaddq_s32(step, vdupq_n_s32(-8)))),
                  vreinterpretq_s32_u32(vshlq_u32(b, vaddq_s32(step, vdupq_n_s32(-20))))}};
    return r & I::set1(7);
}
#else
template <int Which> NUTSHELL_INLINE I fields3(const uint16_t* tile) {
    uint64_t bits = 0;
    for (int i = 0; i < 3; i++) bits |= (uint64_t)tile[3 * Which + i] << 16 * i;
    int32_t lanes[16];
    for (int r = 0; r < 16; r++) lanes[r] = (int32_t)(bits >> 3 * r & 7);
    return I::load(lanes);
}
#endif

}  // namespace nutshell::NUTSHELL_LEVEL
