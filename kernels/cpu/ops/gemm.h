// Many rows: a panel of 64 weight rows, decoded once, times n activation rows.
#pragma once
#include "tile.h"

namespace nutshell::NUTSHELL_LEVEL {

constexpr int kSubs = kPanelRows / kRows;  // groups of 16 rows in a panel
#if defined(NUTSHELL_AVX2)
constexpr int kIntegerRows = 4;  // AVX2 has no multiply-add of integers: the products take registers too
#else
constexpr int kIntegerRows = kTileRows;
#endif

// One block of at most 128 inputs: R activation rows times S groups of 16 weight rows, summed as integers, then added to
// y in float32. panel: pairs of inputs of 16 rows, 32 numbers apart; groups `stride` apart.
template <int S, int R>
inline void gemm_i16_tile(const int16_t* q, int ldq, int k, const int16_t* panel, ptrdiff_t stride, const float* scale,
                          int ldscale, const float* row_scale, float* y, ptrdiff_t ldy) {
    I acc[R * S];
    const int16_t* rows[R];
    NUTSHELL_UNROLL
    for (int r = 0; r < R; r++) rows[r] = q + (ptrdiff_t)r * ldq;
    NUTSHELL_UNROLL
    for (int i = 0; i < R * S; i++) acc[i] = I::zero();
    for (int i = 0; i < k; i += 2, panel += 32) {
        I w[S];
        NUTSHELL_UNROLL
        for (int s = 0; s < S; s++) w[s] = I::load(panel + s * stride);
        NUTSHELL_UNROLL
        for (int r = 0; r < R; r++) {
            I x = I::broadcast(rows[r] + i);
            NUTSHELL_UNROLL
            for (int s = 0; s < S; s++) acc[r * S + s] = dot_i16(acc[r * S + s], w[s], x);
        }
    }
    NUTSHELL_UNROLL
    for (int s = 0; s < S; s++) {
        F of_row = F::load(row_scale + s * 16);
        NUTSHELL_UNROLL
        for (int r = 0; r < R; r++) {
            float* out = y + r * ldy + s * 16;
            fma(to_float(acc[r * S + s]), of_row * F::set1(scale[(ptrdiff_t)r * ldscale]), F::load(out)).store(out);
        }
    }
}

// The same in float32.
template <int S, int R>
inline void gemm_f32_tile(const float* x, int ldx, int k, const float* panel, ptrdiff_t stride, float* y, ptrdiff_t ldy) {
    F acc[R * S];
    const float* rows[R];
    for (int r = 0; r < R; r++) rows[r] = x + (ptrdiff_t)r * ldx;
    for (int i = 0; i < R * S; i++) acc[i] = F::zero();
    multiply<Floats32, S, R>(rows, panel, 16, stride, k, acc);
    for (int i = 0; i < R * S; i++) {
        float* out = y + (i / S) * ldy + i % S * 16;
        (F::load(out) + acc[i]).store(out);
    }
}

// Calls body(k, length) for the blocks of kBlock inputs that k0 .. k0 + k touches.
template <class Body> inline void for_blocks(int k0, int k, Body body) {
    for (int at = k0, end = k0 + k; at < end;) {
        int next = (at / kBlock + 1) * kBlock;
        if (next > end) next = end;
        body(at, next - at);
        at = next;
    }
}

template <int R>
inline void gemm_i16_rows(const Activations& a, int row, int at, int length, const int16_t* panel, ptrdiff_t stride,
                          const float* row_scale, float* y, ptrdiff_t ldy) {
    int blocks = a.stride / kBlock;
    for (int s = 0; s < kSubs; s += kTileVectors)
        gemm_i16_tile<kTileVectors, R>(a.q + (ptrdiff_t)row * a.stride + at, a.stride, length, panel + s * stride, stride,
                                       a.scale + (ptrdiff_t)row * blocks + at / kBlock, blocks, row_scale + s * 16,
                                       y + s * 16, ldy);
}

template <int R>
inline void gemm_f32_rows(const Activations& a, int row, int at, int length, const float* panel, ptrdiff_t stride, float* y,
                          ptrdiff_t ldy) {
    for (int s = 0; s < kSubs; s += kTileVectors)
        gemm_f32_tile<kTileVectors, R>(a.f32 + (ptrdiff_t)row * a.stride + at, a.stride, length, panel + s * stride, stride,
                                       y + s * 16, ldy);
}

// y[r * ldy + i] += row_scale[i] * sum over blocks of scale * (panel row i . q row row0 + r), for 64 i and n r. A block of
// the panel (16 KB) stays in L1 while all rows pass.
inline void gemm_i16(const Activations& a, int row0, int n, int k0, int k, const int16_t* panel, const float* row_scale,
                     float* y, int ldy) {
    for_blocks(k0, k, [&](int at, int length) {
        for_row_tiles(n, kIntegerRows, [&](int first, int rows) {
            const int16_t* w = panel + (ptrdiff_t)(at - k0) * 16;
            float* out = y + (ptrdiff_t)first * ldy;
            switch (rows) {
                case 1: return gemm_i16_rows<1>(a, row0 + first, at, length, w, (ptrdiff_t)k * 16, row_scale, out, ldy);
                case 2: return gemm_i16_rows<2>(a, row0 + first, at, length, w, (ptrdiff_t)k * 16, row_scale, out, ldy);
                case 3: return gemm_i16_rows<3>(a, row0 + first, at, length, w, (ptrdiff_t)k * 16, row_scale, out, ldy);
                case 4: return gemm_i16_rows<4>(a, row0 + first, at, length, w, (ptrdiff_t)k * 16, row_scale, out, ldy);
                case 5: return gemm_i16_rows<5>(a, row0 + first, at, length, w, (ptrdiff_t)k * 16, row_scale, out, ldy);
                default: return gemm_i16_rows<6>(a, row0 + first, at, length, w, (ptrdiff_t)k * 16, row_scale, out, ldy);
            }
        });
    });
}

// The same in float32; blocks are summed apart, which keeps the rounding error of long rows down.
inline void gemm_f32(const Activations& a, int row0, int n, int k0, int k, const float* panel, float* y, int ldy) {
    for_blocks(k0, k, [&](int at, int length) {
        for_row_tiles(n, kTileRows, [&](int first, int rows) {
            const float* w = panel + (ptrdiff_t)(at - k0) * 16;
            float* out = y + (ptrdiff_t)first * ldy;
            switch (rows) {
                case 1: return gemm_f32_rows<1>(a, row0 + first, at, length, w, (ptrdiff_t)k * 16, out, ldy);
                case 2: return gemm_f32_rows<2>(a, row0 + first, at, length, w, (ptrdiff_t)k * 16, out, ldy);
                case 3: return gemm_f32_rows<3>(a, row0 + first, at, length, w, (ptrdiff_t)k * 16, out, ldy);
                case 4: return gemm_f32_rows<4>(a, row0 + first, at, length, w, (ptrdiff_t)k * 16, out, ldy);
                case 5: return gemm_f32_rows<5>(a, row0 + first, at, length, w, (ptrdiff_t)k * 16, out, ldy);
                default: return gemm_f32_rows<6>(a, row0 + first, at, length, w, (ptrdiff_t)k * 16, out, ldy);
            }
        });
    });
}

}  // namespace nutshell::NUTSHELL_LEVEL
