// Sparse weights of SpQR: f16 numbers that are added to the dense part. In a step each of 16 lanes has one of them, a column
// and a value. A panel has two runs of steps: in the first, lane r has row r's; the second has what rows with many left over,
// in lanes that `outlier_lanes` gives to rows. Columns ascend along a lane; lanes that end early have zeros.
#pragma once
#include <cmath>

#include "panels.h"

namespace nutshell::NUTSHELL_LEVEL {

constexpr int kStepWords = 2 * kRows;  // 16 columns, then 16 values: a line

#if defined(NUTSHELL_AVX512)
// x at 16 columns. One by one: 0.64 cycles a number on Zen 5; the instruction that gathers 16 takes 1.26, that for 8 0.99.
NUTSHELL_INLINE F gathered(const float* x, const uint16_t* columns) {
    __m128 four[4];
    NUTSHELL_UNROLL
    for (int i = 0; i < 4; i++) {
        uint64_t at;
        __builtin_memcpy(&at, columns + 4 * i, 8);
        four[i] = _mm_load_ss(x + (at & 0xFFFF));
        four[i] = _mm_insert_ps(four[i], _mm_load_ss(x + (at >> 16 & 0xFFFF)), 0x10);
        four[i] = _mm_insert_ps(four[i], _mm_load_ss(x + (at >> 32 & 0xFFFF)), 0x20);
        four[i] = _mm_insert_ps(four[i], _mm_load_ss(x + (at >> 48)), 0x30);
    }
    const __m256 low = _mm256_set_m128(four[1], four[0]), high = _mm256_set_m128(four[3], four[2]);
    return {_mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1)};
}
#else
NUTSHELL_INLINE F gathered(const float* x, const uint16_t* columns) {
    float lanes[kRows];
    for (int i = 0; i < kRows; i++) lanes[i] = x[columns[i]];
    return F::load(lanes);
}
#endif

inline const uint16_t* outlier_step(const Weight& w, int32_t step) { return w.outliers + (size_t)step * kStepWords; }

// sum[n] += outliers of steps first .. last . activations row `row` + n. Meanwhile the memory brings the outliers of the next
// panel and its codes, which lie at `next`.
template <int N>
NUTSHELL_INLINE void add_steps(const Weight& w, int32_t first, int32_t last, const Activations& a, int row, const uint8_t* next, F* sums) {
    const uint16_t* step = outlier_step(w, first);
    const size_t ahead = (size_t)(last - first) * kStepWords * sizeof(uint16_t);
    for (int32_t i = first; i < last; i++, step += kStepWords, next += 64) {
        read_ahead(step, ahead);
        read_ahead(next);
        const F values = F::load_f16(step + kRows);
        NUTSHELL_UNROLL
        for (int n = 0; n < N; n++) sums[n] = fma(values, gathered(a.f32 + (size_t)(row + n) * a.stride, step), sums[n]);
    }
}

// y[n * ldy + i] += what the rows i of the panel have in the second run
template <int N> inline void add_left_over(const Weight& w, int panel, const Activations& a, int row, const uint8_t* next, float* y, int ldy) {
    const int32_t* start = w.outlier_steps + 2 * panel;
    F sums[N];
    for (int n = 0; n < N; n++) sums[n] = F::zero();
    add_steps<N>(w, start[1], start[2], a, row, next, sums);
    for (int n = 0; n < N; n++) {
        float lanes[kRows];
        sums[n].store(lanes);
        for (int i = 0; i < kRows; i++) y[(size_t)n * ldy + w.outlier_lanes[panel * kRows + i]] += lanes[i];
    }
}

// found(input - k0, value) for the outliers of one lane in the steps first .. last at inputs k0 .. k0 + k
template <class Found> inline void each_of_lane(const Weight& w, int32_t first, int32_t last, int lane, int k0, int k, Found found) {
    for (int32_t length = last - first; length > 0;) {  // the first column that is not before k0
        const int32_t half = length / 2;
        if (outlier_step(w, first + half)[lane] < k0)
            first += half + 1, length -= half + 1;
        else
            length = half;
    }
    for (; first < last; first++) {
        const uint16_t* step = outlier_step(w, first) + lane;
        const int p = (int)step[0] - k0;
        if (p >= k) break;
        if (p >= 0) found(p, f16_to_f32(step[kRows]));  // p < 0 only where the columns do not ascend
    }
}

// the same for all outliers of a row
template <class Found> inline void each_outlier(const Weight& w, int row, int k0, int k, Found found) {
    const int panel = row / kRows;
    const int32_t* start = w.outlier_steps + 2 * panel;
    each_of_lane(w, start[0], start[1], row % kRows, k0, k, found);
    for (int lane = 0; lane < kRows && start[1] < start[2]; lane++)
        if (w.outlier_lanes[panel * kRows + lane] == row % kRows) each_of_lane(w, start[1], start[2], lane, k0, k, found);
}

}  // namespace nutshell::NUTSHELL_LEVEL
