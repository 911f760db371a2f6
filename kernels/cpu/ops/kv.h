// The KV cache of one layer: where a cell lies, and writing it.
#pragma once
#include "narrow.h"
#include "../simd/float16.h"

namespace nutshell::NUTSHELL_LEVEL {

// Numbers before K of (head, position), dimension 0; dimension d is 16 * d further.
inline size_t k_index(const KvLayer& kv, int head, int cell) {
    return ((size_t)head * (size_t)kv.capacity + (size_t)(cell & ~15)) * (size_t)kv.head_dim + (size_t)(cell & 15);
}
inline size_t v_index(const KvLayer& kv, int head, int cell) {
    return ((size_t)head * (size_t)kv.capacity + (size_t)cell) * (size_t)kv.head_dim;
}

inline F f16_range(F x) { return max(min(x, F::set1(65504.0f)), F::set1(-65504.0f)); }

// The f16 scale of int8 numbers, rounded up so that the largest is at most 127.
inline uint16_t int8_scale(const float* x, int n) {
    F top = F::zero();
    for (int i = 0; i < n; i += 16) top = max(top, absolute(F::load(x + i)));
    float scale = largest(top) * (1.0f / 127);
    uint16_t half = f32_to_f16(scale);
    if (f16_to_f32(half) < scale) half++;
    return half < 0x7BFF ? half : 0x7BFF;
}

// Numbers x (head_dim of them) as int8, `step` apart.
inline uint16_t store_int8(const float* x, int n, int8_t* to, int step) {
    uint16_t half = int8_scale(x, n);
    float scale = f16_to_f32(half);
    F inverse = F::set1(scale > 0 ? 1.0f / scale : 0.0f), limit = F::set1(127.0f);
    for (int i = 0; i < n; i += 16) {
        int8_t q[16];
        store_i8(round_to_int(max(min(F::load(x + i) * inverse, limit), F::zero() - limit)), q);
        for (int j = 0; j < 16; j++) to[(ptrdiff_t)(i + j) * step] = q[j];
    }
    return half;
}

// One token into a cell: k and v are [heads * head_dim].
inline void store_kv(const KvLayer& kv, int cell, const float* k, const float* v) {
    int width = kv.head_dim;
    for (int head = 0; head < kv.heads; head++, k += width, v += width) {
        size_t at_k = k_index(kv, head, cell), at_v = v_index(kv, head, cell);
        if (kv.q8) {
            size_t at = (size_t)head * (size_t)kv.capacity + (size_t)cell;
            kv.ks[at] = store_int8(k, width, (int8_t*)kv.k + at_k, 16);
            kv.vs[at] = store_int8(v, width, (int8_t*)kv.v + at_v, 1);
            continue;
        }
        uint16_t *to_k = (uint16_t*)kv.k + at_k, *to_v = (uint16_t*)kv.v + at_v;
        for (int i = 0; i < width; i += 16) {
            uint16_t half[16];
            f16_range(F::load(k + i)).store_f16(half);
            for (int j = 0; j < 16; j++) to_k[(ptrdiff_t)(i + j) * 16] = half[j];
            f16_range(F::load(v + i)).store_f16(to_v + i);
        }
    }
}

template <class Number> inline void move_cell(const KvLayer& kv, Number* k, Number* v, int head, int from, int to) {
    const Number *k_from = k + k_index(kv, head, from), *v_from = v + v_index(kv, head, from);
    Number *k_to = k + k_index(kv, head, to), *v_to = v + v_index(kv, head, to);
    for (int d = 0; d < kv.head_dim; d++) {
        k_to[(ptrdiff_t)d * 16] = k_from[(ptrdiff_t)d * 16];
        v_to[d] = v_from[d];
    }
}

// Copies one cell.
inline void move_kv(const KvLayer& kv, int from, int to) {
    for (int head = 0; head < kv.heads; head++) {
        if (kv.q8) {
            size_t base = (size_t)head * (size_t)kv.capacity;
            kv.ks[base + (size_t)to] = kv.ks[base + (size_t)from];
            kv.vs[base + (size_t)to] = kv.vs[base + (size_t)from];
            move_cell(kv, (int8_t*)kv.k, (int8_t*)kv.v, head, from, to);
        } else {
            move_cell(kv, (uint16_t*)kv.k, (uint16_t*)kv.v, head, from, to);
        }
    }
}

}  // namespace nutshell::NUTSHELL_LEVEL
