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

#include "../simd/float16.h"

namespace nutshell::NUTSHELL_LEVEL {
namespace column {

constexpr int kGroup = 16;    // columns that share a scale and a zero
constexpr int kBlock = 128;   // columns whose errors are put upon the later ones at once: 32 KB of errors
constexpr int kRange = 8;     // cuts tried at each end of a range
constexpr int kLevels = 8;    // of first-level codes
#if defined(NUTSHELL_AVX512)
constexpr int kSubs = kColumnRows / kRows, kColumns = 6;  // 24 sums in registers
#else
constexpr int kSubs = 1, kColumns = 6;
#endif

struct Group {  // sixteen rows, one per lane
    int count;                    // columns, 1..16
    float top;                    // the largest code
    F price;
    F target[kGroup], weight[kGroup];
    F importance[kGroup];         // R[c,c]^2
    float among[kGroup][kGroup];  // feedback of this group's own columns, [column][earlier column]
};

struct Statistics {  // of sixteen rows: scale = ss (code - zs), zero = sz (code - zz)
    uint16_t ss, sz, zs, zz;
    float scale(int code) const { return f16_to_f32(ss) * ((float)code - f16_to_f32(zs)); }
    float zero(int code) const { return f16_to_f32(sz) * ((float)code - f16_to_f32(zz)); }
};

struct Best {
    F cost;
    I scale_code, zero_code;
};

inline F inverse(F scale) {  // 0 where there is no scale: every code then stands for 0
    const I none = float_to_bits(scale - F::set1(1e-30f)).sar<31>();
    return bits_to_float(select(none, I::zero(), float_to_bits(F::set1(1.0f) / max(scale, F::set1(1e-30f)))));
}

inline F nearest(F target, F inverse, F zero, F top) {
    return to_float(round_to_int(min(top, max(F::zero(), fma(target, inverse, zero)))));
}

// What the group costs with these scales and zeros if its columns did not feed each other.
inline F plain_cost(const Group& g, F scale, F zero) {
    const F inv = inverse(scale), top = F::set1(g.top);
    F cost = F::zero();
    for (int i = 0; i < g.count; i++) {
        const F wrong = g.target[i] - scale * (nearest(g.target[i], inv, zero, top) - zero);
        cost = cost + min(wrong * wrong * g.importance[i], g.price);
    }
    return cost;
}

// What it does cost, for K candidates at once: a column waits for the one before, K chains fill the pipeline.
template <int K> inline void true_cost(const Group& g, const F* scale, const F* zero, F* cost) {
    const F top = F::set1(g.top);
    F inv[K], error[kGroup][K];
    for (int k = 0; k < K; k++) {
        inv[k] = inverse(scale[k]);
        cost[k] = F::zero();
    }
    for (int i = 0; i < g.count; i++) {
        F target[K];
        for (int k = 0; k < K; k++) target[k] = g.target[i];
        for (int j = 0; j < i; j++) {
            const F factor = F::set1(g.among[i][j]);
            for (int k = 0; k < K; k++) target[k] = fma(error[j][k], factor, target[k]);
        }
        for (int k = 0; k < K; k++) {
            const F dense = scale[k] * (nearest(target[k], inv[k], zero[k], top) - zero[k]);
            const F wrong = target[k] - dense, squared = wrong * wrong * g.importance[i];
            const I outlier = float_to_bits(g.price - squared).sar<31>();
            error[i][k] = g.weight[i] - bits_to_float(select(outlier, float_to_bits(target[k]), float_to_bits(dense)));
            cost[k] = cost[k] + min(squared, g.price);
        }
    }
}

// Scales and zeros that each row would choose for itself: both ends of its range (which includes 0) cut by steps of a tenth.
inline void own_range(const Group& g, F* scale, F* middle) {
    F low = F::zero(), high = F::zero();
    for (int i = 0; i < g.count; i++) {
        low = min(low, g.target[i]);
        high = max(high, g.target[i]);
    }
    const F share = F::set1(1.0f / g.top);
    F best = F::set1(3.0e38f);
    for (int a = 0; a < kRange; a++)
        for (int b = 0; b < kRange; b++) {
            const F from = low * F::set1(1.0f - 0.1f * (float)a), to = high * F::set1(1.0f - 0.1f * (float)b);
            const F s = (to - from) * share;
            const F cost = plain_cost(g, s, F::zero() - from * inverse(s));
            const I better = float_to_bits(cost - best).sar<31>();
            best = min(best, cost);
            *scale = bits_to_float(select(better, float_to_bits(s), float_to_bits(*scale)));
            *middle = bits_to_float(select(better, float_to_bits((from + to) * F::set1(0.5f)), float_to_bits(*middle)));
        }
}

inline float smallest(F a) { return -largest(F::zero() - a); }

// Eight equal steps from low to high, 0 <= low <= high. A step is at least 1/64 of the largest, so that its zero, at most
// 64, keeps its precision in f16.
inline void steps(float low, float high, uint16_t* step, uint16_t* zero) {
    const float even = (high - low) / (float)(kLevels - 1), least = high * 0.015625f;
    *step = f32_to_f16(even > least ? even : least);
    const float rounded = f16_to_f32(*step);
    *zero = f32_to_f16(rounded > 0 ? -low / rounded : 0.0f);
}

inline F snapped(F x, float step, float zero) {  // the nearest of the eight steps
    const float inv = step > 0 ? 1.0f / step : 0.0f;
    const F code = nearest(x, F::set1(inv), F::set1(zero), F::set1((float)(kLevels - 1)));
    return F::set1(step) * (code - F::set1(zero));
}

// Zeros for the scales that the rows really get: the middle of the range stays where it is.
inline void zero_steps(const Group& g, Statistics* s, F scale, F middle) {
    const F real = snapped(scale, f16_to_f32(s->ss), f16_to_f32(s->zs));
    const F zero = max(F::zero(), min(F::set1(g.top), F::set1(0.5f * g.top) - middle * inverse(real)));
    steps(smallest(zero), largest(zero), &s->sz, &s->zz);
}

// The best of the 8 x 8 scales and zeros that a row can have.
inline Best choose(const Group& g, const Statistics& s) {
    Best best{F::set1(3.0e38f), I::zero(), I::zero()};
    constexpr int kTogether = 4;
    for (int sc = 0; sc < kLevels; sc++)
        for (int first = 0; first < kLevels; first += kTogether) {
            F scale[kTogether], zero[kTogether], cost[kTogether];
            for (int k = 0; k < kTogether; k++) {
                scale[k] = F::set1(s.scale(sc));
                zero[k] = F::set1(s.zero(first + k));
            }
            true_cost<kTogether>(g, scale, zero, cost);
            for (int k = 0; k < kTogether; k++) {
                const I better = float_to_bits(cost[k] - best.cost).sar<31>();
                best.cost = min(best.cost, cost[k]);
                best.scale_code = select(better, I::set1(sc), best.scale_code);
                best.zero_code = select(better, I::set1(first + k), best.zero_code);
            }
        }
    return best;
}

struct Output {  // of sixteen rows
    uint8_t codes[kGroup][kRows];
    uint16_t sparse[kGroup][kRows];
    F error[kGroup];
    F cost;
};

// The codes for good, and what they get wrong.
inline void encode(const Group& g, const Statistics& s, const Best& best, Output* out) {
    const F scale = F::set1(f16_to_f32(s.ss)) * (to_float(best.scale_code) - F::set1(f16_to_f32(s.zs)));
    const F zero = F::set1(f16_to_f32(s.sz)) * (to_float(best.zero_code) - F::set1(f16_to_f32(s.zz)));
    const F inv = inverse(scale), top = F::set1(g.top);
    out->cost = F::zero();
    for (int i = 0; i < g.count; i++) {
        F target = g.target[i];
        for (int j = 0; j < i; j++) target = fma(out->error[j], F::set1(g.among[i][j]), target);
        const F code = nearest(target, inv, zero, top), dense = scale * (code - zero);
        F wrong = target - dense;
        const I outlier = float_to_bits(g.price - wrong * wrong * g.importance[i]).sar<31>();
        const F rest = bits_to_float(float_to_bits(wrong) & outlier);
        rest.store_f16(out->sparse[i]);
        const F value = dense + F::load_f16(out->sparse[i]);  // as it will be decoded
        wrong = target - value;
        out->error[i] = g.weight[i] - value;
        out->cost = out->cost + wrong * wrong * g.importance[i];
        int32_t codes[kRows];
        round_to_int(code).store(codes);
        for (int r = 0; r < kRows; r++) out->codes[i][r] = (uint8_t)codes[r];
    }
}

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
    F scale = F::zero(), middle = F::zero();
    own_range(g, &scale, &middle);
    Statistics s;
    steps(smallest(scale), largest(scale), &s.ss, &s.zs);
    zero_steps(g, &s, scale, middle);
    const Best best = choose(g, s);
    Output out;
    encode(g, s, best, &out);
    for (int i = 0; i < g.count; i++) out.error[i].store(errors + (size_t)i * kColumnRows);
    store_group(a, first, row, g, s, best, out);
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
