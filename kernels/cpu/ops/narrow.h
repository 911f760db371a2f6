// Lanes to and from 8 and 16 bits, and a comparison as a bit mask: what the ops need beyond simd/.
#pragma once
#include <cstdint>

#if defined(__clang__)
#define NUTSHELL_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define NUTSHELL_UNROLL _Pragma("GCC unroll 32")
#else
#define NUTSHELL_UNROLL
#endif

namespace nutshell::NUTSHELL_LEVEL {

#if defined(NUTSHELL_AVX512)

// lanes that fit the narrow type
inline void store_i16(I x, int16_t* p) { _mm256_storeu_si256((__m256i*)p, _mm512_cvtepi32_epi16(x.v)); }
inline void store_i8(I x, int8_t* p) { _mm_storeu_si128((__m128i*)p, _mm512_cvtepi32_epi8(x.v)); }
inline I load_i8(const int8_t* p) { return {_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p))}; }
// bit i: lane i of x >= lane i of y (false for NaN)
inline uint32_t at_least(F x, F y) { return _mm512_cmp_ps_mask(x.v, y.v, _CMP_GE_OQ); }

#elif defined(NUTSHELL_AVX2)

inline void store_i16(I x, int16_t* p) {
    _mm256_storeu_si256((__m256i*)p, _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xD8));
}
inline void store_i8(I x, int8_t* p) {
    __m256i half = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xD8);
    _mm_storeu_si128((__m128i*)p, _mm_packs_epi16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1)));
}
inline I load_i8(const int8_t* p) {
    return {_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p)),
            _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)(p + 8)))};
}
inline uint32_t at_least(F x, F y) {
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(x.a, y.a, _CMP_GE_OQ)) |
           (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(x.b, y.b, _CMP_GE_OQ)) << 8;
}

#else

inline void store_i16(I x, int16_t* p) {
    int32_t v[16];
    x.store(v);
    for (int i = 0; i < 16; i++) p[i] = (int16_t)v[i];
}
inline void store_i8(I x, int8_t* p) {
    int32_t v[16];
    x.store(v);
    for (int i = 0; i < 16; i++) p[i] = (int8_t)v[i];
}
inline I load_i8(const int8_t* p) { return I::load_u8((const uint8_t*)p).shl<24>().sar<24>(); }
inline uint32_t at_least(F x, F y) {
    float a[16], b[16];
    x.store(a);
    y.store(b);
    uint32_t mask = 0;
    for (int i = 0; i < 16; i++) mask |= (uint32_t)(a[i] >= b[i]) << i;
    return mask;
}

#endif

inline F absolute(F x) { return bits_to_float(float_to_bits(x) & I::set1(0x7FFFFFFF)); }

}  // namespace nutshell::NUTSHELL_LEVEL
