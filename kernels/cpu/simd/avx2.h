// Sixteen lanes as two AVX2 registers (with FMA and F16C). See simd/README.md.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace nutshell::NUTSHELL_LEVEL {

struct I {
    __m256i a, b;
    static I zero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
    static I set1(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
    static I broadcast(const void* four_bytes) {
        int32_t x;
        __builtin_memcpy(&x, four_bytes, 4);
        return set1(x);
    }
    static I load(const void* p) {
        return {_mm256_loadu_si256((const __m256i*)p), _mm256_loadu_si256((const __m256i*)p + 1)};
    }
    static I load_u8(const uint8_t* p) {
        return {_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p)),
                _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)(p + 8)))};
    }
    void store(void* p) const {
        _mm256_storeu_si256((__m256i*)p, a);
        _mm256_storeu_si256((__m256i*)p + 1, b);
    }
    template <int K> I shr() const { return {_mm256_srli_epi32(a, K), _mm256_srli_epi32(b, K)}; }
    template <int K> I shl() const { return {_mm256_slli_epi32(a, K), _mm256_slli_epi32(b, K)}; }
    template <int K> I sar() const { return {_mm256_srai_epi32(a, K), _mm256_srai_epi32(b, K)}; }
    template <int K> I shl16() const { return {_mm256_slli_epi16(a, K), _mm256_slli_epi16(b, K)}; }
    template <int K> I sar16() const { return {_mm256_srai_epi16(a, K), _mm256_srai_epi16(b, K)}; }
    friend I operator&(I x, I y) { return {_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)}; }
    friend I operator|(I x, I y) { return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)}; }
    friend I operator^(I x, I y) { return {_mm256_xor_si256(x.a, y.a), _mm256_xor_si256(x.b, y.b)}; }
    friend I operator+(I x, I y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
    friend I operator-(I x, I y) { return {_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)}; }
    friend I operator*(I x, I y) { return {_mm256_mullo_epi32(x.a, y.a), _mm256_mullo_epi32(x.b, y.b)}; }
};

inline I select(I mask, I x, I y) { return (mask & x) | I{_mm256_andnot_si256(mask.a, y.a), _mm256_andnot_si256(mask.b, y.b)}; }

inline I min(I x, I y) { return {_mm256_min_epi32(x.a, y.a), _mm256_min_epi32(x.b, y.b)}; }  // signed
inline I max(I x, I y) { return {_mm256_max_epi32(x.a, y.a), _mm256_max_epi32(x.b, y.b)}; }

inline I dot_i16(I acc, I x, I y) {
    return {_mm256_add_epi32(acc.a, _mm256_madd_epi16(x.a, y.a)), _mm256_add_epi32(acc.b, _mm256_madd_epi16(x.b, y.b))};
}

inline I dot_u5s8(I acc, I u, I s) {
    const __m256i one = _mm256_set1_epi16(1);
    return {_mm256_add_epi32(acc.a, _mm256_madd_epi16(_mm256_maddubs_epi16(u.a, s.a), one)),
            _mm256_add_epi32(acc.b, _mm256_madd_epi16(_mm256_maddubs_epi16(u.b, s.b), one))};
}

struct F {
    __m256 a, b;
    static F zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
    static F set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
    static F load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
    static F load_first(const float* p, int n) {
        return {_mm256_maskload_ps(p, first(n)), _mm256_maskload_ps(p + 8, first(n - 8))};
    }
    static F load_f16(const uint16_t* p) {
        return {_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)), _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p + 1))};
    }
    static F load_f16(const uint16_t* p, const uint16_t* q) {
        return {_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)), _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)q))};
    }
    static F load_bf16(const uint16_t* p) { return {widen(p), widen(p + 8)}; }
    static F masked(uint16_t mask, float x) {
        return {_mm256_and_ps(_mm256_set1_ps(x), lanes(mask)), _mm256_and_ps(_mm256_set1_ps(x), lanes(mask >> 8))};
    }
    void store(float* p) const {
        _mm256_storeu_ps(p, a);
        _mm256_storeu_ps(p + 8, b);
    }
    void store_first(float* p, int n) const {
        _mm256_maskstore_ps(p, first(n), a);
        _mm256_maskstore_ps(p + 8, first(n - 8), b);
    }
    void store_f16(uint16_t* p) const {
        _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
        _mm_storeu_si128((__m128i*)p + 1, _mm256_cvtps_ph(b, _MM_FROUND_TO_NEAREST_INT));
    }
    friend F operator+(F x, F y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
    friend F operator-(F x, F y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
    friend F operator*(F x, F y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
    friend F operator/(F x, F y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }

    static __m256i first(int n) {
        return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    }
    static __m256 lanes(int mask) {
        const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
        return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(mask), bit), bit));
    }
    static __m256 widen(const uint16_t* p) {
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)), 16));
    }
};

inline F fma(F x, F y, F z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
inline F max(F x, F y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
inline F min(F x, F y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
inline F add_masked(F x, uint16_t mask, F y) {
    return {_mm256_add_ps(x.a, _mm256_and_ps(y.a, F::lanes(mask))), _mm256_add_ps(x.b, _mm256_and_ps(y.b, F::lanes(mask >> 8)))};
}
inline F to_float(I x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
inline I round_to_int(F x) { return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; }
inline F bits_to_float(I x) { return {_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)}; }
inline I float_to_bits(F x) { return {_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)}; }
inline float sum(F x) {
    __m256 s = _mm256_add_ps(x.a, x.b);
    __m128 t = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    t = _mm_add_ps(t, _mm_movehl_ps(t, t));
    return _mm_cvtss_f32(_mm_add_ss(t, _mm_movehdup_ps(t)));
}
inline float largest(F x) {
    __m256 s = _mm256_max_ps(x.a, x.b);
    __m128 t = _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    t = _mm_max_ps(t, _mm_movehl_ps(t, t));
    return _mm_cvtss_f32(_mm_max_ss(t, _mm_movehdup_ps(t)));
}

}  // namespace nutshell::NUTSHELL_LEVEL
