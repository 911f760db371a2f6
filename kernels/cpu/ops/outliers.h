// Sparse weights of SpQR, row by row: f16 numbers that are added to the dense part. Columns ascend within a row.
#pragma once
#include <cmath>

#include "panels.h"

namespace nutshell::NUTSHELL_LEVEL {

// The outliers of a row panel. Made before the dense part of the panel is computed: numbers just widened are slow to read
// one by one, and the processor must not wait for them at the end of a panel, when the next one should be on its way.
class PanelOutliers {
  public:
    PanelOutliers(const Weight& w, int panel) : w_(w), start_(w.outlier_rows + panel * kRows) {
        rows_ = rows(panel);
        widen(start_[0]);
#if defined(__GNUC__)
        for (int32_t i = start_[rows_]; i < start_[rows_ + rows(panel + 1)]; i += 32) {  // those of the next panel
            __builtin_prefetch(w.outlier_cols + i, 0, 2);
            __builtin_prefetch(w.outlier_vals + i, 0, 2);
        }
#endif
    }

    // y[n * ldy + i] += outliers of row i of the panel . activations row `row` + n, for n < count. Meanwhile the memory
    // brings the codes of the next panel, which lie at `next`.
    void add(const Activations& a, int row, int count, const uint8_t* next, float* y, int ldy) {
        for (int32_t from = start_[0]; from < start_[rows_]; from += kChunk) {
            if (from > start_[0]) widen(from);
            const int32_t to = start_[rows_] - from < kChunk ? start_[rows_] : from + kChunk;
            for (int n = 0; n < count; n++) {
                multiply(a.f32 + (size_t)(row + n) * a.stride, from, to - from, n ? nullptr : next);
                for (int i = 0; i < rows_; i++) {
                    const int32_t begin = start_[i] > from ? start_[i] : from, end = start_[i + 1] < to ? start_[i + 1] : to;
                    if (begin >= end) continue;
                    F sums = some(begin - from, end - from) + some(begin - from + kRows, end - from);
                    for (int32_t j = begin + 2 * kRows; j < end; j += kRows) sums = sums + some(j - from, end - from);
                    y[(size_t)n * ldy + i] += sum(sums);
                }
            }
        }
    }

  private:
    static constexpr int kChunk = 1024;
    const Weight& w_;
    const int32_t* start_;
    int rows_;
    float values_[kRows + kChunk];  // from index kRows on
    float products_[kChunk + kRows];

    // All products of the panel first, in one loop: how many belong to a row is different for every row, and a processor
    // that guesses it wrongly at the end of each loses as much time as the products take.
    void multiply(const float* x, int32_t from, int32_t count, const uint8_t* next) {
        const uint16_t* columns = w_.outlier_cols + from;
        const float* values = values_ + kRows;
        int32_t i = 0;
        for (; i + 8 <= count; i += 8) {
            if (next) read_ahead(next + i * 16), read_ahead(next + i * 16 + 64);  // what the memory brings meanwhile
            NUTSHELL_UNROLL
            for (int j = 0; j < 8; j++) products_[i + j] = values[i + j] * x[columns[i + j]];
        }
        for (; i < count; i++) products_[i] = values[i] * x[columns[i]];
    }
    // up to 16 products from one on, zeros behind the last
    F some(int32_t first, int32_t last) const {
        const int32_t left = last - first < kRows ? last - first : kRows;
        return F::load_first(products_ + first, left < 0 ? 0 : left);
    }
    int rows(int panel) const {
        const int left = w_.out - panel * kRows;
        return left < 0 ? 0 : left < kRows ? left : kRows;
    }
    void widen(int32_t from) {
        const int32_t count = start_[rows_] - from < kChunk ? start_[rows_] - from : kChunk;
        const uint16_t* values = w_.outlier_vals + from;
        int32_t i = 0;
        for (; i + kRows <= count; i += kRows) F::load_f16(values + i).store(values_ + kRows + i);
        if (i == count) return;
        if (from + count >= kRows)  // the last ones with some before them
            F::load_f16(values + count - kRows).store(values_ + count);
        else
            for (; i < count; i++) values_[kRows + i] = f16_to_f32(values[i]);
    }
};

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
