// Sparse weights of SpQR, row by row: f16 numbers that are added to the dense part. Columns ascend within a row.
#pragma once
#include <cmath>

#include "panels.h"

namespace nutshell::NUTSHELL_LEVEL {

inline void widen_f16(const uint16_t* from, int count, float* to) {
    int i = 0;
    for (; i + kRows <= count; i += kRows) F::load_f16(from + i).store(to + i);
    for (; i < count; i++) to[i] = f16_to_f32(from[i]);
}

inline float sparse_dot(const float* values, const uint16_t* columns, int count, const float* x) {
    float a = 0, b = 0, c = 0, d = 0;  // four sums hide the latency of the multiply-add
    int i = 0;
    for (; i + 4 <= count; i += 4) {
        a += values[i] * x[columns[i]];
        b += values[i + 1] * x[columns[i + 1]];
        c += values[i + 2] * x[columns[i + 2]];
        d += values[i + 3] * x[columns[i + 3]];
    }
    for (; i < count; i++) a += values[i] * x[columns[i]];
    return (a + b) + (c + d);
}

// y += outliers . x for the rows of a tile that exist
inline void add_outliers(const Weight& w, const Activations& a, int first, int rows, float* y, int ldy) {
    constexpr int kChunk = 1024;
    float values[kChunk];
    const int32_t* start = w.outlier_rows + first;
    if (first + rows > w.out) rows = w.out - first;
    for (int32_t from = start[0]; from < start[rows]; from += kChunk) {
        const int32_t to = start[rows] - from < kChunk ? start[rows] : from + kChunk;
        widen_f16(w.outlier_vals + from, to - from, values);
        for (int i = 0; i < rows; i++) {
            const int32_t begin = start[i] > from ? start[i] : from, end = start[i + 1] < to ? start[i + 1] : to;
            if (begin >= end) continue;
            for (int n = 0; n < a.n; n++)
                y[(size_t)n * ldy + i] +=
                    sparse_dot(values + (begin - from), w.outlier_cols + begin, end - begin, a.f32 + (size_t)n * a.stride);
        }
    }
}

// found(input - k0, value) for the outliers of a row at inputs k0 .. k0 + k
template <class Found> inline void each_outlier(const Weight& w, int row, int k0, int k, Found found) {
    int32_t begin = w.outlier_rows[row], end = w.outlier_rows[row + 1];
    for (int32_t length = end - begin; length > 0;) {  // the first column that is not before k0
        const int32_t half = length / 2;
        if (w.outlier_cols[begin + half] < k0)
            begin += half + 1, length -= half + 1;
        else
            length = half;
    }
    for (; begin < end; begin++) {
        const int p = (int)w.outlier_cols[begin] - k0;
        if (p >= k) break;
        if (p >= 0) found(p, f16_to_f32(w.outlier_vals[begin]));  // p < 0 only where the columns do not ascend
    }
}

}  // namespace nutshell::NUTSHELL_LEVEL
