// Sixteen lanes as four NEON registers (AArch64, with the dot products of ARMv8.2). See simd/README.md.
#pragma once
#include <arm_neon.h>

#include <cstdint>
#include <cstring>

#define NUTSHELL_QUARTERS(r, expression)                \
    do {                                                \
        for (int i = 0; i < 4; i++) (r).q[i] = (expression); \
    } while (0)

namespace nutshell::NUTSHELL_LEVEL {

struct I {
    int32x4_t q[4];
    static I zero() { return set1(0); }
    static I set1(int32_t x) {
        I r;
        NUTSHELL_QUARTERS(r, vdupq_n_s32(x));
        return r;
    }
    static I broadcast(const void* four_bytes) {
        int32_t x;
        std::memcpy(&x, four_bytes, 4);
        return set1(x);
    }
    static I load(const void* p) {
        I r;
        NUTSHELL_QUARTERS(r, vreinterpretq_s32_u8(vld1q_u8((const uint8_t*)p + 16 * i)));
        return r;
    }
    static I load_u8(const uint8_t* p) {
        const uint8x16_t bytes = vld1q_u8(p);
        const uint16x8_t low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_u8(vget_high_u8(bytes));
        return {{vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(low))), vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(low))),
                 vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(high))), vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(high)))}};
    }
    void store(void* p) const {
        for (int i = 0; i < 4; i++) vst1q_u8((uint8_t*)p + 16 * i, vreinterpretq_u8_s32(q[i]));
    }
    // shifts by a register take any count, 0 included
    template <int K> I shr() const {
        I r;
        NUTSHELL_QUARTERS(r, vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(q[i]), vdupq_n_s32(-K))));
        return r;
    }
    template <int K> I shl() const {
        I r;
        NUTSHELL_QUARTERS(r, vshlq_n_s32(q[i], K));
        return r;
    }
    template <int K> I sar() const {
        I r;
        NUTSHELL_QUARTERS(r, vshlq_s32(q[i], vdupq_n_s32(-K)));
        return r;
    }
    template <int K> I shl16() const {
        I r;
        NUTSHELL_QUARTERS(r, vreinterpretq_s32_s16(vshlq_n_s16(vreinterpretq_s16_s32(q[i]), K)));
        return r;
    }
    template <int K> I sar16() const {
        I r;
        NUTSHELL_QUARTERS(r, vreinterpretq_s32_s16(vshlq_s16(vreinterpretq_s16_s32(q[i]), vdupq_n_s16(-K))));
        return r;
    }
    friend I operator&(I x, I y) { return map(x, y, [](int32x4_t a, int32x4_t b) { return vandq_s32(a, b); }); }
    friend I operator|(I x, I y) { return map(x, y, [](int32x4_t a, int32x4_t b) { return vorrq_s32(a, b); }); }
    friend I operator^(I x, I y) { return map(x, y, [](int32x4_t a, int32x4_t b) { return veorq_s32(a, b); }); }
    friend I operator+(I x, I y) { return map(x, y, [](int32x4_t a, int32x4_t b) { return vaddq_s32(a, b); }); }
    friend I operator-(I x, I y) { return map(x, y, [](int32x4_t a, int32x4_t b) { return vsubq_s32(a, b); }); }
    friend I operator*(I x, I y) { return map(x, y, [](int32x4_t a, int32x4_t b) { return vmulq_s32(a, b); }); }

    template <class Op> static I map(I x, I y, Op op) {
        return {{op(x.q[0], y.q[0]), op(x.q[1], y.q[1]), op(x.q[2], y.q[2]), op(x.q[3], y.q[3])}};
    }
};

inline I select(I mask, I x, I y) {
    I r;
    NUTSHELL_QUARTERS(r, vbslq_s32(vreinterpretq_u32_s32(mask.q[i]), x.q[i], y.q[i]));
    return r;
}

inline I min(I x, I y) { return I::map(x, y, [](int32x4_t a, int32x4_t b) { return vminq_s32(a, b); }); }  // signed
inline I max(I x, I y) { return I::map(x, y, [](int32x4_t a, int32x4_t b) { return vmaxq_s32(a, b); }); }

inline I dot_i16(I acc, I x, I y) {
    for (int i = 0; i < 4; i++) {
        const int16x8_t a = vreinterpretq_s16_s32(x.q[i]), b = vreinterpretq_s16_s32(y.q[i]);
        acc.q[i] = vaddq_s32(acc.q[i], vpaddq_s32(vmull_s16(vget_low_s16(a), vget_low_s16(b)), vmull_high_s16(a, b)));
    }
    return acc;
}

inline I dot_u5s8(I acc, I u, I s) {  // 0..31 is the same number with and without a sign
    NUTSHELL_QUARTERS(acc, vdotq_s32(acc.q[i], vreinterpretq_s8_s32(u.q[i]), vreinterpretq_s8_s32(s.q[i])));
    return acc;
}

struct F {
    float32x4_t q[4];
    static F zero() { return set1(0); }
    static F set1(float x) {
        F r;
        NUTSHELL_QUARTERS(r, vdupq_n_f32(x));
        return r;
    }
    static F load(const float* p) {
        F r;
        NUTSHELL_QUARTERS(r, vld1q_f32(p + 4 * i));
        return r;
    }
    static F load_first(const float* p, int n) {
        float lanes[16] = {};
        for (int i = 0; i < n && i < 16; i++) lanes[i] = p[i];
        return load(lanes);
    }
    static F load_f16(const uint16_t* p) {
        F r;
        NUTSHELL_QUARTERS(r, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i))));
        return r;
    }
    static F load_f16(const uint16_t* p, const uint16_t* q) {
        F r;
        NUTSHELL_QUARTERS(r, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((i < 2 ? p : q) + 4 * (i % 2)))));
        return r;
    }
    static F load_bf16(const uint16_t* p) {
        F r;
        NUTSHELL_QUARTERS(r, vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16)));
        return r;
    }
    static F masked(uint16_t mask, float x) {
        F r;
        NUTSHELL_QUARTERS(r, keep(lanes(mask, i), vdupq_n_f32(x)));
        return r;
    }
    void store(float* p) const {
        for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, q[i]);
    }
    void store_first(float* p, int n) const {
        float lanes[16];
        store(lanes);
        for (int i = 0; i < n && i < 16; i++) p[i] = lanes[i];
    }
    void store_f16(uint16_t* p) const {
        for (int i = 0; i < 4; i++) vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(q[i])));
    }
    friend F operator+(F x, F y) { return map(x, y, [](float32x4_t a, float32x4_t b) { return vaddq_f32(a, b); }); }
    friend F operator-(F x, F y) { return map(x, y, [](float32x4_t a, float32x4_t b) { return vsubq_f32(a, b); }); }
    friend F operator*(F x, F y) { return map(x, y, [](float32x4_t a, float32x4_t b) { return vmulq_f32(a, b); }); }
    friend F operator/(F x, F y) { return map(x, y, [](float32x4_t a, float32x4_t b) { return vdivq_f32(a, b); }); }

    template <class Op> static F map(F x, F y, Op op) {
        return {{op(x.q[0], y.q[0]), op(x.q[1], y.q[1]), op(x.q[2], y.q[2]), op(x.q[3], y.q[3])}};
    }
    static uint32x4_t lanes(uint32_t mask, int quarter) {  // all ones where the mask has a bit
        const uint32_t bits[4] = {1, 2, 4, 8};
        return vtstq_u32(vdupq_n_u32(mask >> 4 * quarter), vld1q_u32(bits));
    }
    static float32x4_t keep(uint32x4_t mask, float32x4_t x) {
        return vreinterpretq_f32_u32(vandq_u32(mask, vreinterpretq_u32_f32(x)));
    }
};

inline F fma(F x, F y, F z) {
    NUTSHELL_QUARTERS(z, vfmaq_f32(z.q[i], x.q[i], y.q[i]));
    return z;
}
inline F max(F x, F y) { return F::map(x, y, [](float32x4_t a, float32x4_t b) { return vmaxq_f32(a, b); }); }
inline F min(F x, F y) { return F::map(x, y, [](float32x4_t a, float32x4_t b) { return vminq_f32(a, b); }); }
inline F add_masked(F x, uint16_t mask, F y) {
    NUTSHELL_QUARTERS(x, vaddq_f32(x.q[i], F::keep(F::lanes(mask, i), y.q[i])));
    return x;
}
inline F to_float(I x) {
    F r;
    NUTSHELL_QUARTERS(r, vcvtq_f32_s32(x.q[i]));
    return r;
}
inline I round_to_int(F x) {
    I r;
    NUTSHELL_QUARTERS(r, vcvtnq_s32_f32(x.q[i]));
    return r;
}
inline F bits_to_float(I x) {
    F r;
    NUTSHELL_QUARTERS(r, vreinterpretq_f32_s32(x.q[i]));
    return r;
}
inline I float_to_bits(F x) {
    I r;
    NUTSHELL_QUARTERS(r, vreinterpretq_s32_f32(x.q[i]));
    return r;
}
inline float sum(F x) {
    const float32x4_t t = vaddq_f32(vaddq_f32(x.q[0], x.q[2]), vaddq_f32(x.q[1], x.q[3]));
    const float32x2_t u = vadd_f32(vget_low_f32(t), vget_high_f32(t));
    return vget_lane_f32(u, 0) + vget_lane_f32(u, 1);
}
inline float largest(F x) { return vmaxvq_f32(vmaxq_f32(vmaxq_f32(x.q[0], x.q[1]), vmaxq_f32(x.q[2], x.q[3]))); }

}  // namespace nutshell::NUTSHELL_LEVEL

#undef NUTSHELL_QUARTERS
