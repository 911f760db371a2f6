// SwiGLU and softmax, one row at a time.
#pragma once
#include "exp.h"

namespace nutshell::NUTSHELL_LEVEL {

inline F silu(F x) { return x / (F::set1(1.0f) + exp(F::zero() - x)); }

// y = silu(gate) * up. y may be gate or up.
inline void swiglu(const float* gate, const float* up, int width, float* y) {
    int i = 0;
    for (; i + 16 <= width; i += 16) (silu(F::load(gate + i)) * F::load(up + i)).store(y + i);
    if (int left = width - i)
        (silu(F::load_first(gate + i, left)) * F::load_first(up + i, left)).store_first(y + i, left);
}

// y = exp(x - max) / sum, n >= 1 numbers; -inf gives 0. y may be x.
inline void softmax(const float* x, int n, float* y) {
    F top = F::set1(x[0]);
    int whole = n & ~15, left = n - whole;
    for (int i = 0; i < whole; i += 16) top = max(top, F::load(x + i));
    float highest = largest(top);
    for (int i = whole; i < n; i++) highest = x[i] > highest ? x[i] : highest;
    F shift = F::set1(highest);
    double total = 0;  // of runs of 1024: 150,000 numbers summed in float32 lanes would lose two digits
    for (int start = 0; start < whole; start += 1024) {
        F part = F::zero();
        for (int i = start; i < whole && i < start + 1024; i += 16) {
            F e = exp(F::load(x + i) - shift);
            e.store(y + i);
            part = part + e;
        }
        total += (double)sum(part);
    }
    if (left) {
        exp(F::load_first(x + whole, left) - shift).store_first(y + whole, left);
        for (int i = whole; i < n; i++) total += (double)y[i];
    }
    F factor = F::set1((float)(1.0 / total));
    for (int i = 0; i < whole; i += 16) (F::load(y + i) * factor).store(y + i);
    for (int i = whole; i < n; i++) y[i] *= (float)(1.0 / total);
}

}  // namespace nutshell::NUTSHELL_LEVEL
