// What the linears of dense, q8, q4 and spqr weights share: tiles of 64 rows, row scales, rounding to 14-bit integers.
#pragma once
#include "../types.h"
#include "narrow.h"

namespace nutshell::NUTSHELL_LEVEL {

constexpr int kTilePanels = 4;  // row panels in a tile of gemv
constexpr int kStep = 32;       // inputs that every buffer holds a multiple of

// Parts of one loop that must not become calls: their sums live in registers.
#if defined(_MSC_VER) && !defined(__clang__)
#define NUTSHELL_INLINE __forceinline
#else
#define NUTSHELL_INLINE inline __attribute__((always_inline))
#endif

// Asks for a line that a stream of weights reaches later. The hardware alone stops at every page: q4 then reads 24 of
// 42 GB/s, with 1 KB ahead 25, 4 KB 32, 8 KB and 16 KB 37. The thinner streams beside it need it as well: what else is
// read makes the hardware forget them.
constexpr size_t kAhead = 8192;
NUTSHELL_INLINE void read_ahead(const void* p, size_t bytes = kAhead) {
#if defined(__GNUC__)
    __builtin_prefetch((const char*)p + bytes);
#else
    (void)p, (void)bytes;
#endif
}

inline int panel_count(const Weight& w) { return (w.out + kRows - 1) / kRows; }
inline int panel_tile_count(const Weight& w) { return (panel_count(w) + kTilePanels - 1) / kTilePanels; }
inline void panel_tile_rows(const Weight& w, int tile, int* first, int* rows) {
    const int left = panel_count(w) - tile * kTilePanels;
    *first = tile * kTilePanels * kRows;
    *rows = (left < kTilePanels ? left : kTilePanels) * kRows;
}

// Row panels one after the other, so that the weights are one stream from memory; up to four activation rows share a
// pass. `Kernel::run<N>` computes N rows of a panel, and sums in the same order for every N.
template <class Kernel, int N>
inline void gemv_panels(const Weight& w, const Activations& a, int row, int first, int last, float* y, int ldy) {
    for (int panel = first; panel < last; panel++)
        Kernel::template run<N>(w, a, row, panel, y + (size_t)row * ldy + (panel - first) * kRows, ldy);
}

template <class Kernel> inline void gemv_tile(const Weight& w, const Activations& a, int tile, float* y, int ldy) {
    const int first = tile * kTilePanels, all = panel_count(w);
    const int last = first + kTilePanels < all ? first + kTilePanels : all;
    const int passes = (a.n + 3) / 4;
    for (int pass = 0; pass < passes; pass++) {
        const int row = a.n * pass / passes;
        switch (a.n * (pass + 1) / passes - row) {
            case 1: gemv_panels<Kernel, 1>(w, a, row, first, last, y, ldy); break;
            case 2: gemv_panels<Kernel, 2>(w, a, row, first, last, y, ldy); break;
            case 3: gemv_panels<Kernel, 3>(w, a, row, first, last, y, ldy); break;
            default: gemv_panels<Kernel, 4>(w, a, row, first, last, y, ldy); break;
        }
    }
}

// The integers of a row are w / row_scale; a row of zeros has the scale 0 and the inverse 0.
inline void panel_row_scales(const Weight& w, int first_row, float* row_scale) {
    for (int i = 0; i < kPanelRows; i++) row_scale[i] = w.row_max[first_row + i] / 8191.0f;
}
NUTSHELL_INLINE F inverse_row_scales(const Weight& w, int row) {
    float inverse[kRows];
    for (int i = 0; i < kRows; i++) inverse[i] = w.row_max[row + i] > 1e-30f ? 8191.0f / w.row_max[row + i] : 0.0f;
    return F::load(inverse);
}

// Adding 1.5 * 2^23 rounds a float to the nearest integer, whose low 16 bits are then the low 16 bits of the float.
NUTSHELL_INLINE F panel_rounding() { return F::set1(12582912.0f); }
NUTSHELL_INLINE I panel_pair(F even, F odd) {  // both with `panel_rounding` added
    return select(I::set1(0xFFFF), float_to_bits(even), float_to_bits(odd).shl<16>());
}

// Decodes kPanelRows rows from first_row with `decode(panel, sub)`; row panels behind the last one are zeros.
template <class T, class Decode> inline void decode_panels(const Weight& w, int first_row, int k, T* out, Decode decode) {
    for (int sub = 0; sub < kPanelRows / kRows; sub++) {
        T* target = out + (size_t)sub * k * kRows;
        const int panel = first_row / kRows + sub;
        if (panel < panel_count(w))
            decode(panel, target);
        else
            for (size_t i = 0; i < (size_t)k * kRows; i++) target[i] = 0;
    }
}

}  // namespace nutshell::NUTSHELL_LEVEL
