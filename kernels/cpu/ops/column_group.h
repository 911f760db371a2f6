// Sixteen columns of sixteen rows in SpQR's column loop (column.h): which scales, zeros and codes cost least.
#pragma once
#include <initializer_list>

#include "../simd/float16.h"

namespace nutshell::NUTSHELL_LEVEL {
namespace column {

constexpr int kGroup = 16;  // columns that share a scale and a zero
constexpr int kCuts = 8;    // tried at each end of a range
constexpr int kLevels = 8;  // of first-level codes

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

inline I less(F a, F b) { return float_to_bits(a - b).sar<31>(); }  // all ones where a < b

inline F inverse(F scale) {  // 0 where there is no scale: every code then stands for 0
    const I none = less(scale, F::set1(1e-30f));
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
            const I outlier = less(g.price, squared);
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
    for (int a = 0; a < kCuts; a++)
        for (int b = 0; b < kCuts; b++) {
            const F from = low * F::set1(1.0f - 0.1f * (float)a), to = high * F::set1(1.0f - 0.1f * (float)b);
            const F s = (to - from) * share;
            const F cost = plain_cost(g, s, F::zero() - from * inverse(s));
            const I better = less(cost, best);
            best = min(best, cost);
            *scale = bits_to_float(select(better, float_to_bits(s), float_to_bits(*scale)));
            *middle = bits_to_float(select(better, float_to_bits((from + to) * F::set1(0.5f)), float_to_bits(*middle)));
        }
}

inline float smallest(F a) { return -largest(F::zero() - a); }

// Eight equal steps from low to high. A step is at least 1/64 of the largest, so that its zero, at most 64, keeps its
// precision in f16.
inline void steps(float low, float high, uint16_t* step, uint16_t* zero) {
    const float even = (high - low) / (float)(kLevels - 1), least = high * 0.015625f;
    *step = f32_to_f16(even > least ? even : least);
    const float rounded = f16_to_f32(*step);
    *zero = f32_to_f16(rounded > 0 ? -low / rounded : 0.0f);
}

// Which of the eight steps is nearest.
inline F step_code(F x, uint16_t step, uint16_t zero) {
    return nearest(x, inverse(F::set1(f16_to_f32(step))), F::set1(f16_to_f32(zero)), F::set1((float)(kLevels - 1)));
}

inline F scale_of(const Statistics& s, F code) { return F::set1(f16_to_f32(s.ss)) * (code - F::set1(f16_to_f32(s.zs))); }
inline F zero_of(const Statistics& s, F code) { return F::set1(f16_to_f32(s.sz)) * (code - F::set1(f16_to_f32(s.zz))); }

// The statistics that span what the rows would choose for themselves. With the scales that the rows really get, the middle
// of a range stays where it is.
inline Statistics spanning(const Group& g) {
    F scale = F::zero(), middle = F::zero();
    own_range(g, &scale, &middle);
    Statistics s;
    steps(smallest(scale), largest(scale), &s.ss, &s.zs);
    const F real = scale_of(s, step_code(scale, s.ss, s.zs));
    const F zero = max(F::zero(), min(F::set1(g.top), F::set1(0.5f * g.top) - middle * inverse(real)));
    steps(smallest(zero), largest(zero), &s.sz, &s.zz);
    return s;
}

// Tries K candidates for every row; their codes are numbers.
template <int K> inline void consider(const Group& g, const Statistics& s, F scale_code, const F* zero_codes, Best* best) {
    F scale[K], zero[K], cost[K];
    for (int k = 0; k < K; k++) {
        scale[k] = scale_of(s, scale_code);
        zero[k] = zero_of(s, zero_codes[k]);
    }
    true_cost<K>(g, scale, zero, cost);
    for (int k = 0; k < K; k++) {
        const I better = less(cost[k], best->cost);
        best->cost = min(best->cost, cost[k]);
        best->scale_code = select(better, round_to_int(scale_code), best->scale_code);
        best->zero_code = select(better, round_to_int(zero_codes[k]), best->zero_code);
    }
}

// The best of the 8 x 8 scales and zeros that a row can have.
inline Best choose(const Group& g, const Statistics& s) {
    Best best{F::set1(3.0e38f), I::zero(), I::zero()};
    for (int scale = 0; scale < kLevels; scale++)
        for (int first = 0; first < kLevels; first += 4) {
            F zeros[4];
            for (int k = 0; k < 4; k++) zeros[k] = F::set1((float)(first + k));
            consider<4>(g, s, F::set1((float)scale), zeros, &best);
        }
    return best;
}

// The best of the 3 x 3 around the codes that are nearest to a scale and a zero: an eighth of the work.
inline Best choose_near(const Group& g, const Statistics& s, F scale, F zero) {
    Best best{F::set1(3.0e38f), I::zero(), I::zero()};
    const F least = F::set1(1.0f), most = F::set1((float)(kLevels - 2));
    const F around = max(least, min(most, step_code(scale, s.ss, s.zs)));
    const F zeros = max(least, min(most, step_code(zero, s.sz, s.zz)));
    const F tried[3] = {zeros - least, zeros, zeros + least};
    for (int d = -1; d <= 1; d++) consider<3>(g, s, around + F::set1((float)d), tried, &best);
    return best;
}

struct Choice {
    Statistics s;
    Best best;
    float total;  // cost of the sixteen rows
};

// Takes other statistics if they are better.
inline bool attempt(const Group& g, const Statistics& s, Choice* now) {
    const F scale = scale_of(now->s, to_float(now->best.scale_code)), zero = zero_of(now->s, to_float(now->best.zero_code));
    const Best best = choose_near(g, s, scale, zero);
    const float total = sum(best.cost);
    if (!(total < now->total)) return false;
    *now = {s, best, total};
    return true;
}

// Step and zero for which step * (code - zero) is closest to what the rows want, by least squares; false: there are none.
inline bool fit_steps(F wanted, F weight, F code, uint16_t* step, uint16_t* zero) {
    const F weighted = weight * code;
    const float w = sum(weight), c = sum(weighted), cc = sum(weighted * code), x = sum(weight * wanted);
    const float cx = sum(weighted * wanted), determinant = w * cc - c * c;
    if (!(determinant > 1e-6f * (w * cc))) return false;  // all rows have the same code
    const float slope = (w * cx - c * x) / determinant, base = (x - slope * c) / w;
    const uint16_t half = f32_to_f16(slope);
    const float rounded = f16_to_f32(half);
    if (!(rounded > 0)) return false;
    const float at = -base / rounded;
    if (!(at <= 1.0f && at >= -64.0f)) return false;  // as of `steps`
    *step = half;
    *zero = f32_to_f16(at);
    return true;
}

// Statistics that fit the targets best if every code of the present choice stays.
inline bool refit(const Group& g, const Choice& now, Statistics* s) {
    const F scale_code = to_float(now.best.scale_code), zero_code = to_float(now.best.zero_code);
    const F scale = scale_of(now.s, scale_code), zero = zero_of(now.s, zero_code), inv = inverse(scale), top = F::set1(g.top);
    F error[kGroup], of_codes = F::zero(), of_targets = F::zero(), all = F::zero(), of_zeros = F::zero();
    for (int i = 0; i < g.count; i++) {
        F target = g.target[i];
        for (int j = 0; j < i; j++) target = fma(error[j], F::set1(g.among[i][j]), target);
        const F code = nearest(target, inv, zero, top), length = code - zero, dense = scale * length;
        const F wrong = target - dense;
        const I outlier = less(g.price, wrong * wrong * g.importance[i]);
        error[i] = g.weight[i] - bits_to_float(select(outlier, float_to_bits(target), float_to_bits(dense)));
        const F counts = bits_to_float(select(outlier, I::zero(), float_to_bits(g.importance[i])));
        of_codes = of_codes + counts * length * length;
        of_targets = of_targets + counts * length * target;
        all = all + counts;
        of_zeros = of_zeros + counts * (scale * code - target);
    }
    *s = now.s;
    const bool scales = fit_steps(of_targets * inverse(of_codes), of_codes, scale_code, &s->ss, &s->zs);
    const bool zeros = fit_steps(of_zeros * inv * inverse(all), all * scale * scale, zero_code, &s->sz, &s->zz);
    return scales || zeros;
}

// Statistics and codes of the rows: from what spans their own choices, by steps that each make all rows together better.
// What they share costs them: at 4 bits a tenth of the error is won here.
inline Choice search(const Group& g) {
    constexpr float kMoves[5][2] = {{1, 0}, {0, -1}, {-1, 0}, {0, 1}, {1, -1}};  // of the lowest and the highest, in steps
    Choice now;
    now.s = spanning(g);
    now.best = choose(g, now.s);
    now.total = sum(now.best.cost);
    for (const float size : {1.0f, 0.5f}) {
        for (const auto& move : kMoves) {
            Statistics s = now.s;
            const float step = size * f16_to_f32(s.ss), low = s.scale(0) + step * move[0], high = s.scale(7) + step * move[1];
            if (!(low >= 0 && high > low)) continue;
            steps(low, high, &s.ss, &s.zs);
            attempt(g, s, &now);
        }
        for (const auto& move : kMoves) {
            Statistics s = now.s;
            const float step = size * f16_to_f32(s.sz), low = s.zero(0) + step * move[0], high = s.zero(7) + step * move[1];
            if (!(high > low)) continue;
            steps(low, high, &s.sz, &s.zz);
            attempt(g, s, &now);
        }
        for (int round = 0; round < 2; round++) {
            Statistics s;
            if (!refit(g, now, &s) || !attempt(g, s, &now)) break;
        }
    }
    const Best best = choose(g, now.s);
    if (sum(best.cost) < now.total) now.best = best;
    return now;
}

struct Output {  // of sixteen rows
    uint8_t codes[kGroup][kRows];
    uint16_t sparse[kGroup][kRows];
    F error[kGroup];
    F cost;
};

// The codes for good, and what they get wrong.
inline void encode(const Group& g, const Statistics& s, const Best& best, Output* out) {
    const F scale = scale_of(s, to_float(best.scale_code)), zero = zero_of(s, to_float(best.zero_code));
    const F inv = inverse(scale), top = F::set1(g.top);
    out->cost = F::zero();
    for (int i = 0; i < g.count; i++) {
        F target = g.target[i];
        for (int j = 0; j < i; j++) target = fma(out->error[j], F::set1(g.among[i][j]), target);
        const F code = nearest(target, inv, zero, top), dense = scale * (code - zero);
        F wrong = target - dense;
        const I outlier = less(g.price, wrong * wrong * g.importance[i]);
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

}  // namespace column
}  // namespace nutshell::NUTSHELL_LEVEL
