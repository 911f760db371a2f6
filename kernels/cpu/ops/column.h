// SpQR's column loop: weights become 3- or 4-bit codes group by group, and what a group gets wrong the later ones make up for.
//
// With the damped Hessian H = R R^T (R upper), the output error of a row with errors E is the sum over columns c of
// (E_c + sum over k < c of E_k R[k,c] / R[c,c])^2 R[c,c]^2: so column c is best rounded not from its weight but from its
// weight plus that sum, its target. Rows are independent of each other but for the statistics that sixteen of them share.
//
// A weight whose error would cost more than `price` becomes an outlier: it keeps its target in f16 beside its code. Ranges
// are chosen to minimise the sum of min(error, price), which is what leaving each weight out in turn (arXiv 2306.03078)
// approximates.
#pragma once
#include <cstring>

#include "column_group.h"

namespace nutshell::NUTSHELL_LEVEL {
namespace column {

constexpr int kBlock = 128;   // columns whose errors are put upon the later ones at once: 32 KB of errors
#if defined(NUTSHELL_AVX512)
constexpr int kSubs = kColumnRows / kRows, kColumns = 6;  // 24 sums in registers
#else
constexpr int kSubs = 1, kColumns = 6;
#endif

// targets[c][row] += sum over k of feedback[c][k] errors[k][row], k ascending, for `columns` columns.
template <int C>
inline void feed_columns(float* targets, const float* feedback, ptrdiff_t stride, const float* errors, int count) {
    for (int sub = 0; sub < kColumnRows / kRows; sub += kSubs) {
        F sums[C * kSubs];
        float* out = targets + sub * kRows;
        const float* e = errors + sub * kRows;
        for (int c = 0; c < C; c++)
            for (int s = 0; s < kSubs; s++) sums[c * kSubs + s] = F::load(out + c * kColumnRows + s * kRows);
        for (int k = 0; k < count; k++) {
            F error[kSubs];
            for (int s = 0; s < kSubs; s++) error[s] = F::load(e + k * kColumnRows + s * kRows);
            for (int c = 0; c < C; c++) {
                const F factor = F::set1(feedback[c * stride + k]);
                for (int s = 0; s < kSubs; s++) sums[c * kSubs + s] = fma(error[s], factor, sums[c * kSubs + s]);
            }
        }
        for (int c = 0; c < C; c++)
            for (int s = 0; s < kSubs; s++) sums[c * kSubs + s].store(out + c * kColumnRows + s * kRows);
    }
}

inline void feed(float* targets, int columns, const float* feedback, ptrdiff_t stride, const float* errors, int count) {
    int c = 0;
    for (; c + kColumns <= columns; c += kColumns)
        feed_columns<kColumns>(targets + (ptrdiff_t)c * kColumnRows, feedback + c * stride, stride, errors, count);
    for (; c < columns; c++)
        feed_columns<1>(targets + (ptrdiff_t)c * kColumnRows, feedback + c * stride, stride, errors, count);
}

inline void load_group(const ColumnArgs& a, int first, int row, const float* targets, Group* g) {
    g->count = a.in - first < kGroup ? a.in - first : kGroup;
    g->top = (float)((1 << a.bits) - 1);
    g->price = F::set1(a.price);
    float weight[kRows];
    for (int i = 0; i < g->count; i++) {
        // rows behind the last one do as it does: they cannot widen the statistics
        for (int r = 0; r < kRows; r++) {
            const int real = row + r < a.out ? row + r : a.out - 1;
            weight[r] = a.weight[(size_t)real * (size_t)a.in + (size_t)(first + i)];
        }
        g->weight[i] = F::load(weight);
        g->target[i] = F::load(targets + (size_t)i * kColumnRows);
        g->importance[i] = F::set1(a.importance[first + i]);
        for (int j = 0; j < i; j++) g->among[i][j] = a.feedback[(size_t)(first + i) * (size_t)a.in + (size_t)(first + j)];
    }
}

inline void store_group(const ColumnArgs& a, int first, int row, const Group& g, const Statistics& s, const Best& best,
                        const Output& out) {
    const int tile = first / kGroup, tiles = (a.in + kGroup - 1) / kGroup;
    uint16_t* statistics = a.statistics + 4 * ((size_t)(row / kRows) * (size_t)tiles + (size_t)tile);
    statistics[0] = s.ss, statistics[1] = s.sz, statistics[2] = s.zs, statistics[3] = s.zz;
    int32_t scale_codes[kRows], zero_codes[kRows];
    float costs[kRows];
    best.scale_code.store(scale_codes);
    best.zero_code.store(zero_codes);
    out.cost.store(costs);
    for (int r = 0; r < kRows && row + r < a.out; r++) {
        const size_t real = (size_t)(row + r), at = real * (size_t)a.in + (size_t)first;
        a.scale_codes[real * (size_t)tiles + (size_t)tile] = (uint8_t)scale_codes[r];
        a.zero_codes[real * (size_t)tiles + (size_t)tile] = (uint8_t)zero_codes[r];
        a.errors[real] += costs[r];
        for (int i = 0; i < g.count; i++) {
            a.codes[at + (size_t)i] = out.codes[i][r];
            a.sparse[at + (size_t)i] = out.sparse[i][r];
        }
    }
}

// One group of sixteen rows; its errors go to errors[column][row].
inline void do_group(const ColumnArgs& a, int first, int row, const float* targets, float* errors) {
    Group g;
    load_group(a, first, row, targets, &g);
    const Choice choice = search(g);
    Output out;
    encode(g, choice.s, choice.best, &out);
    for (int i = 0; i < g.count; i++) out.error[i].store(errors + (size_t)i * kColumnRows);
    store_group(a, first, row, g, choice.s, choice.best, out);
}

}  // namespace column

inline size_t column_scratch(const ColumnArgs& a) { return (size_t)(a.in + column::kBlock) * kColumnRows; }

inline void quantize_columns(const ColumnArgs& a, int first_row, float* scratch) {
    using namespace column;
    float *targets = scratch, *errors = scratch + (size_t)a.in * kColumnRows;
    for (int r = 0; r < kColumnRows; r++) {
        const int real = first_row + r < a.out ? first_row + r : a.out - 1;
        const float* from = a.weight + (size_t)real * (size_t)a.in;
        for (int c = 0; c < a.in; c++) targets[(size_t)c * kColumnRows + (size_t)r] = from[c];
        if (first_row + r < a.out) a.errors[first_row + r] = 0.0f;
    }
    const int rows = a.out - first_row < kColumnRows ? a.out - first_row : kColumnRows;
    std::memset(errors, 0, sizeof(float) * column::kBlock * kColumnRows);  // of rows that are not there
    for (int block = 0; block < a.in; block += column::kBlock) {
        const int end = block + column::kBlock < a.in ? block + column::kBlock : a.in;
        for (int c = block; c < end; c += kGroup) {
            const int next = c + kGroup < end ? c + kGroup : end;
            float* of_group = errors + (size_t)(c - block) * kColumnRows;
            for (int r = 0; r < rows; r += kRows)
                do_group(a, c, first_row + r, targets + (size_t)c * kColumnRows + r, of_group + r);
            feed(targets + (size_t)next * kColumnRows, end - next, a.feedback + (size_t)next * (size_t)a.in + c, a.in, of_group,
                 next - c);
        }
        feed(targets + (size_t)end * kColumnRows, a.in - end, a.feedback + (size_t)end * (size_t)a.in + block, a.in, errors,
             end - block);
    }
}

}  // namespace nutshell::NUTSHELL_LEVEL
