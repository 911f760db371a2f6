// Sixteen lanes in plain C++: every processor, and the meaning of what the other levels do. See simd/README.md.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "float16.h"

namespace nutshell::NUTSHELL_LEVEL {

struct I {
    int32_t v[16];
    static I zero() { return set1(0); }
    static I set1(int32_t x) {
        I r;
        for (int32_t& lane : r.v) lane = x;
        return r;
    }
    static I broadcast(const void* four_bytes) {
        int32_t x;
        std::memcpy(&x, four_bytes, 4);
        return set1(x);
    }
    static I load(const void* p) {
        I r;
        std::memcpy(r.v, p, 64);
        return r;
    }
    static I load_u8(const uint8_t* p) {
        I r;
        for (int i = 0; i < 16; i++) r.v[i] = p[i];
        return r;
    }
    void store(void* p) const { std::memcpy(p, v, 64); }
    template <class Op> static I map(I a, I b, Op op) {
        I r;
        for (int i = 0; i < 16; i++) r.v[i] = (int32_t)op((uint32_t)a.v[i], (uint32_t)b.v[i]);
        return r;
    }
    template <class Op> I map16(Op op) const {
        int16_t half[32];
        std::memcpy(half, v, 64);
        for (int16_t& x : half) x = (int16_t)op(x);
        return load(half);
    }
    template <int K> I shr() const { return map(*this, *this, [](uint32_t a, uint32_t) { return a >> K; }); }
    template <int K> I shl() const { return map(*this, *this, [](uint32_t a, uint32_t) { return a << K; }); }
    template <int K> I sar() const { return map(*this, *this, [](uint32_t a, uint32_t) { return (int32_t)a >> K; }); }
    template <int K> I shl16() const { return map16([](int16_t a) { return (uint16_t)a << K; }); }
    template <int K> I sar16() const { return map16([](int16_t a) { return a >> K; }); }
    friend I operator&(I a, I b) { return map(a, b, [](uint32_t x, uint32_t y) { return x & y; }); }
    friend I operator|(I a, I b) { return map(a, b, [](uint32_t x, uint32_t y) { return x | y; }); }
    friend I operator^(I a, I b) { return map(a, b, [](uint32_t x, uint32_t y) { return x ^ y; }); }
    friend I operator+(I a, I b) { return map(a, b, [](uint32_t x, uint32_t y) { return x + y; }); }
    friend I operator-(I a, I b) { return map(a, b, [](uint32_t x, uint32_t y) { return x - y; }); }
    friend I operator*(I a, I b) { return map(a, b, [](uint32_t x, uint32_t y) { return x * y; }); }
};

inline I select(I mask, I a, I b) {
    I r;
    for (int i = 0; i < 16; i++) r.v[i] = (mask.v[i] & a.v[i]) | (~mask.v[i] & b.v[i]);
    return r;
}

inline I min(I a, I b) {
    return I::map(a, b, [](uint32_t x, uint32_t y) { return (int32_t)x < (int32_t)y ? x : y; });
}
inline I max(I a, I b) {
    return I::map(a, b, [](uint32_t x, uint32_t y) { return (int32_t)x > (int32_t)y ? x : y; });
}

inline I dot_i16(I acc, I a, I b) {
    int16_t x[32], y[32];
    std::memcpy(x, a.v, 64);
    std::memcpy(y, b.v, 64);
    for (int i = 0; i < 16; i++)
        acc.v[i] = (int32_t)((uint32_t)acc.v[i] + (uint32_t)(x[2 * i] * y[2 * i]) + (uint32_t)(x[2 * i + 1] * y[2 * i + 1]));
    return acc;
}

inline I dot_u5s8(I acc, I u, I s) {
    uint8_t x[64];
    int8_t y[64];
    std::memcpy(x, u.v, 64);
    std::memcpy(y, s.v, 64);
    for (int i = 0; i < 64; i++) acc.v[i / 4] += x[i] * y[i];
    return acc;
}

struct F {
    float v[16];
    template <class Op> static F make(Op op) {
        F r;
        for (int i = 0; i < 16; i++) r.v[i] = op(i);
        return r;
    }
    static F zero() { return set1(0); }
    static F set1(float x) { return make([&](int) { return x; }); }
    static F load(const float* p) { return make([&](int i) { return p[i]; }); }
    static F load_first(const float* p, int n) { return make([&](int i) { return i < n ? p[i] : 0.0f; }); }
    static F load_f16(const uint16_t* p) { return make([&](int i) { return f16_to_f32(p[i]); }); }
    static F load_f16(const uint16_t* p, const uint16_t* q) {
        return make([&](int i) { return f16_to_f32(i < 8 ? p[i] : q[i - 8]); });
    }
    static F load_bf16(const uint16_t* p) { return make([&](int i) { return bf16_to_f32(p[i]); }); }
    static F masked(uint16_t mask, float x) { return make([&](int i) { return mask >> i & 1 ? x : 0.0f; }); }
    void store(float* p) const { std::memcpy(p, v, 64); }
    void store_first(float* p, int n) const { std::memcpy(p, v, sizeof(float) * (size_t)(n < 0 ? 0 : n)); }
    void store_f16(uint16_t* p) const {
        for (int i = 0; i < 16; i++) p[i] = f32_to_f16(v[i]);
    }
    friend F operator+(F a, F b) { return make([&](int i) { return a.v[i] + b.v[i]; }); }
    friend F operator-(F a, F b) { return make([&](int i) { return a.v[i] - b.v[i]; }); }
    friend F operator*(F a, F b) { return make([&](int i) { return a.v[i] * b.v[i]; }); }
    friend F operator/(F a, F b) { return make([&](int i) { return a.v[i] / b.v[i]; }); }
};

inline F fma(F a, F b, F c) { return F::make([&](int i) { return a.v[i] * b.v[i] + c.v[i]; }); }
inline F max(F a, F b) { return F::make([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; }); }
inline F min(F a, F b) { return F::make([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; }); }
inline F add_masked(F a, uint16_t mask, F x) {
    return F::make([&](int i) { return mask >> i & 1 ? a.v[i] + x.v[i] : a.v[i]; });
}
inline F to_float(I a) { return F::make([&](int i) { return (float)a.v[i]; }); }
inline I round_to_int(F a) {
    I r;
    for (int i = 0; i < 16; i++) r.v[i] = (int32_t)std::nearbyintf(a.v[i]);
    return r;
}
inline F bits_to_float(I a) {
    F r;
    std::memcpy(r.v, a.v, 64);
    return r;
}
inline I float_to_bits(F a) { return I::load(a.v); }
inline float sum(F a) {
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++) a.v[i] += a.v[i + half];
    return a.v[0];
}
inline float largest(F a) {
    float m = a.v[0];
    for (float x : a.v) m = x > m ? x : m;
    return m;
}

}  // namespace nutshell::NUTSHELL_LEVEL
