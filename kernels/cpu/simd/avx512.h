// Sixteen lanes on AVX-512 (F, BW, VL, DQ), with VNNI where the file is compiled for it. See simd/README.md.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace nutshell::NUTSHELL_LEVEL {

struct I {  // 16 lanes of 32 bits; also seen as 32 int16 or 64 bytes
    __m512i v;
    static I zero() { return {_mm512_setzero_si512()}; }
    static I set1(int32_t x) { return {_mm512_set1_epi32(x)}; }
    static I broadcast(const void* four_bytes) {
        int32_t x;
        __builtin_memcpy(&x, four_bytes, 4);
        return {_mm512_set1_epi32(x)};
    }
    static I load(const void* p) { return {_mm512_loadu_si512(p)}; }
    static I load_u8(const uint8_t* p) { return {_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p))}; }
    void store(void* p) const { _mm512_storeu_si512(p, v); }
    template <int K> I shr() const { return {_mm512_srli_epi32(v, K)}; }
    template <int K> I shl() const { return {_mm512_slli_epi32(v, K)}; }
    template <int K> I sar() const { return {_mm512_srai_epi32(v, K)}; }
    template <int K> I shl16() const { return {_mm512_slli_epi16(v, K)}; }
    template <int K> I sar16() const { return {_mm512_srai_epi16(v, K)}; }
    friend I operator&(I a, I b) { return {_mm512_and_si512(a.v, b.v)}; }
    friend I operator|(I a, I b) { return {_mm512_or_si512(a.v, b.v)}; }
    friend I operator^(I a, I b) { return {_mm512_xor_si512(a.v, b.v)}; }
    friend I operator+(I a, I b) { return {_mm512_add_epi32(a.v, b.v)}; }
    friend I operator-(I a, I b) { return {_mm512_sub_epi32(a.v, b.v)}; }
    friend I operator*(I a, I b) { return {_mm512_mullo_epi32(a.v, b.v)}; }
};

// bitwise: where the mask has a 1, a; else b
inline I select(I mask, I a, I b) { return {_mm512_ternarylogic_epi32(mask.v, a.v, b.v, 0xCA)}; }

inline I min(I a, I b) { return {_mm512_min_epi32(a.v, b.v)}; }  // signed
inline I max(I a, I b) { return {_mm512_max_epi32(a.v, b.v)}; }

// GCC 12 copies and spills the accumulators of the intrinsics (it changes their type to 16 lanes and back): a tile of 24 of
// them ran at 36 % of the peak, and at 90 % through the instruction itself.

// acc[lane] += a16[2 lane] * b16[2 lane] + a16[2 lane + 1] * b16[2 lane + 1], all signed
inline I dot_i16(I acc, I a, I b) {
#if defined(__AVX512VNNI__) && defined(__GNUC__) && !defined(__clang__)
    asm("vpdpwssd %2, %1, %0" : "+v"(acc.v) : "v"(a.v), "v"(b.v));
    return acc;
#elif defined(__AVX512VNNI__)
    return {_mm512_dpwssd_epi32(acc.v, a.v, b.v)};
#else
    return {_mm512_add_epi32(acc.v, _mm512_madd_epi16(a.v, b.v))};
#endif
}

// acc[lane] += sum of 4 products u[i] * s[i]; u is 0..31 (so that pairs fit 16 bits on every level), s is signed
inline I dot_u5s8(I acc, I u, I s) {
#if defined(__AVX512VNNI__) && defined(__GNUC__) && !defined(__clang__)
    asm("vpdpbusd %2, %1, %0" : "+v"(acc.v) : "v"(u.v), "v"(s.v));
    return acc;
#elif defined(__AVX512VNNI__)
    return {_mm512_dpbusd_epi32(acc.v, u.v, s.v)};
#else
    return {_mm512_add_epi32(acc.v, _mm512_madd_epi16(_mm512_maddubs_epi16(u.v, s.v), _mm512_set1_epi16(1)))};
#endif
}

struct F {  // 16 lanes of float32
    __m512 v;
    static F zero() { return {_mm512_setzero_ps()}; }
    static F set1(float x) { return {_mm512_set1_ps(x)}; }
    static F load(const float* p) { return {_mm512_loadu_ps(p)}; }
    // the first n (0..16) lanes; the others are 0, and memory behind them is not touched
    static F load_first(const float* p, int n) { return {_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p)}; }
    static F load_f16(const uint16_t* p) { return {_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p))}; }
    // 8 lanes from each
    static F load_f16(const uint16_t* p, const uint16_t* q) {
        const __m256i low = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i*)p));
        return {_mm512_cvtph_ps(_mm256_inserti128_si256(low, _mm_loadu_si128((const __m128i*)q), 1))};
    }
    static F load_bf16(const uint16_t* p) {
        return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16))};
    }
    // lane i is x where bit i of the mask is 1, else 0
    static F masked(uint16_t mask, float x) { return {_mm512_maskz_mov_ps(mask, _mm512_set1_ps(x))}; }
    void store(float* p) const { _mm512_storeu_ps(p, v); }
    void store_first(float* p, int n) const { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), v); }
    void store_f16(uint16_t* p) const { _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT)); }
    friend F operator+(F a, F b) { return {_mm512_add_ps(a.v, b.v)}; }
    friend F operator-(F a, F b) { return {_mm512_sub_ps(a.v, b.v)}; }
    friend F operator*(F a, F b) { return {_mm512_mul_ps(a.v, b.v)}; }
    friend F operator/(F a, F b) { return {_mm512_div_ps(a.v, b.v)}; }
};

inline F fma(F a, F b, F c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }  // a * b + c
inline F max(F a, F b) { return {_mm512_max_ps(a.v, b.v)}; }
inline F min(F a, F b) { return {_mm512_min_ps(a.v, b.v)}; }
inline F add_masked(F a, uint16_t mask, F x) { return {_mm512_mask_add_ps(a.v, mask, a.v, x.v)}; }  // a + x where set
inline F to_float(I a) { return {_mm512_cvtepi32_ps(a.v)}; }
inline I round_to_int(F a) { return {_mm512_cvtps_epi32(a.v)}; }  // to nearest, ties to even
inline F bits_to_float(I a) { return {_mm512_castsi512_ps(a.v)}; }
inline I float_to_bits(F a) { return {_mm512_castps_si512(a.v)}; }
inline float sum(F a) {  // the same order on every level: halves, quarters, pairs
    __m256 s = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
    __m128 t = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    t = _mm_add_ps(t, _mm_movehl_ps(t, t));
    return _mm_cvtss_f32(_mm_add_ss(t, _mm_movehdup_ps(t)));
}
inline float largest(F a) { return _mm512_reduce_max_ps(a.v); }

}  // namespace nutshell::NUTSHELL_LEVEL
