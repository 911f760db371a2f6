// RMSNorm and the residual sum, one row at a time.
#pragma once

namespace nutshell::NUTSHELL_LEVEL {

// y = x / sqrt(mean(x^2) + eps) * weight over each run of `weight_width` numbers of the row. y may be x.
inline void rms_norm(const float* x, const float* weight, int width, int weight_width, float eps, float* y) {
    for (int start = 0; start < width; start += weight_width) {
        const float* from = x + start;
        F squares[4] = {F::zero(), F::zero(), F::zero(), F::zero()};
        int i = 0;
        for (; i + 64 <= weight_width; i += 64)
            for (int j = 0; j < 4; j++) {
                F v = F::load(from + i + 16 * j);
                squares[j] = fma(v, v, squares[j]);
            }
        for (; i < weight_width; i += 16) {
            F v = weight_width - i >= 16 ? F::load(from + i) : F::load_first(from + i, weight_width - i);
            squares[0] = fma(v, v, squares[0]);
        }
        float total = sum((squares[0] + squares[1]) + (squares[2] + squares[3]));
        F factor = F::set1(1.0f / std::sqrt(total / (float)weight_width + eps));
        for (i = 0; i + 16 <= weight_width; i += 16)
            (F::load(from + i) * factor * F::load(weight + i)).store(y + start + i);
        if (int left = weight_width - i)
            (F::load_first(from + i, left) * factor * F::load_first(weight + i, left)).store_first(y + start + i, left);
    }
}

// y += x
inline void add(const float* x, int width, float* y) {
    int i = 0;
    for (; i + 16 <= width; i += 16) (F::load(y + i) + F::load(x + i)).store(y + i);
    if (int left = width - i) (F::load_first(y + i, left) + F::load_first(x + i, left)).store_first(y + i, left);
}

}  // namespace nutshell::NUTSHELL_LEVEL
