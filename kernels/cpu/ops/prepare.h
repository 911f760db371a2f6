// An activation row in all the forms that linears read (types.h: Activations).
#pragma once
#include "narrow.h"

namespace nutshell::NUTSHELL_LEVEL {

// One block of 128: `x` in float32 to integers and one scale.
inline void prepare_block(const float* x, int16_t* q, int8_t* hi, int8_t* lo, float* scale, int32_t* sum16,
                          float* f32_sum16) {
    F top = F::zero(), total = F::zero();
    for (int i = 0; i < kBlock; i += 16) {
        F a = absolute(F::load(x + i));
        top = max(top, a);
        total = fma(a, F::set1(1.0f / kBlock), total);  // the mean, so that 128 huge numbers stay finite
    }
    // |q| <= 16383, and sum |q| <= 2^18 with 64 kept back for rounding. A NaN in the block makes `mean` and the scale NaN.
    float largest_q = largest(top) * (1.0f / 16383), mean = sum(total) * (kBlock / (262144.0f - 64));
    float unit = mean <= largest_q ? largest_q : mean;
    // below 1e-34 the inverse would overflow: such a block (numbers below 1e-30) is zero
    bool zero = unit < 1e-34f;
    F inverse = F::set1(zero ? 0.0f : 1.0f / unit), limit = F::set1(16383.0f);
    *scale = zero ? 0.0f : unit;
    for (int i = 0; i < kBlock; i += 16) {
        F f = F::load(x + i);
        I rounded = round_to_int(max(min(f * inverse, limit), F::zero() - limit));
        store_i16(rounded, q + i);
        store_i8(rounded.sar<7>(), hi + i);
        store_i8(rounded & I::set1(127), lo + i);
        sum16[i / 16] = (int32_t)sum(to_float(rounded));  // below 2^24: exact
        f32_sum16[i / 16] = sum(f);
    }
}

// Row `row` of x (rows `ldx` apart, `in` numbers; input j is x[perm[j]] where perm is given) to row `row` of the outputs.
inline void prepare(const float* x, int ldx, int in, const uint32_t* perm, int row, float* f32, int16_t* q, int8_t* hi,
                    int8_t* lo, float* scale, int32_t* sum16, float* f32_sum16, int stride) {
    x += (ptrdiff_t)row * ldx;
    ptrdiff_t start = (ptrdiff_t)row * stride;
    f32 += start;
    if (perm) {
        for (int i = 0; i < in; i++) f32[i] = x[perm[i]];
        for (int i = in; i < stride; i++) f32[i] = 0.0f;
    } else {
        for (int i = 0; i < stride; i += 16)
            (i + 16 <= in ? F::load(x + i) : i < in ? F::load_first(x + i, in - i) : F::zero()).store(f32 + i);
    }
    for (int i = 0; i < stride; i += kBlock)
        prepare_block(f32 + i, q + start + i, hi + start + i, lo + start + i, scale + (start + i) / kBlock,
                      sum16 + (start + i) / 16, f32_sum16 + (start + i) / 16);
}

}  // namespace nutshell::NUTSHELL_LEVEL
