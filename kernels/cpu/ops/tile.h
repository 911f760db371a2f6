// The register tile of every float32 product here: R rows of numbers times S vectors of 16 columns.
#pragma once
#include "narrow.h"

namespace nutshell::NUTSHELL_LEVEL {

// Rows and vectors of the largest tile. S x R accumulators, S vectors and a broadcast number must fit the registers:
// 4 x 6 + 4 + 1 of 32 with AVX-512; 1 x 6 of two halves each + 2 + 1 of 16 with AVX2; 1 x 4 of four quarters on NEON.
#if defined(NUTSHELL_AVX512)
constexpr int kTileRows = 6, kTileVectors = 4;
#elif defined(NUTSHELL_AVX2)
constexpr int kTileRows = 6, kTileVectors = 1;
#else
constexpr int kTileRows = 4, kTileVectors = 1;
#endif

struct Floats32 {
    using Number = float;
    static F load(const float* p) { return F::load(p); }
};
struct Floats16 {
    using Number = uint16_t;
    static F load(const uint16_t* p) { return F::load_f16(p); }
};
struct Integers8 {
    using Number = int8_t;
    static F load(const int8_t* p) { return to_float(load_i8(p)); }
};

struct Nothing {
    void operator()() const {}
};

// acc[r * S + s] += sum over i < k of a[r][i] * b[i * step + s * stride .. + 16]; calls each() for every i.
template <class Load, int S, int R, class Each = Nothing>
inline void multiply(const float* const* a, const typename Load::Number* b, ptrdiff_t step, ptrdiff_t stride, int k,
                     F* acc, Each each = {}) {
    F c[R * S];
    const float* rows[R];
    NUTSHELL_UNROLL
    for (int r = 0; r < R; r++) rows[r] = a[r];
    NUTSHELL_UNROLL
    for (int i = 0; i < R * S; i++) c[i] = acc[i];
    for (int i = 0; i < k; i++, b += step) {
        each();
        F v[S];
        NUTSHELL_UNROLL
        for (int s = 0; s < S; s++) v[s] = Load::load(b + s * stride);
        NUTSHELL_UNROLL
        for (int r = 0; r < R; r++) {
            F x = F::set1(rows[r][i]);
            NUTSHELL_UNROLL
            for (int s = 0; s < S; s++) c[r * S + s] = fma(x, v[s], c[r * S + s]);
        }
    }
    NUTSHELL_UNROLL
    for (int i = 0; i < R * S; i++) acc[i] = c[i];
}

// `n` rows in as few tiles of at most `highest` as possible, all about equally high: calls body(first, rows).
template <class Body> inline void for_row_tiles(int n, int highest, Body body) {
    int tiles = (n + highest - 1) / highest;
    for (int t = 0, first = 0; t < tiles; t++) {
        int rows = (n - first + tiles - t - 1) / (tiles - t);
        body(first, rows);
        first += rows;
    }
}

}  // namespace nutshell::NUTSHELL_LEVEL
