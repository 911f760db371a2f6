// Linear with weights as numbers: f32, f16, bf16.
#pragma once
#include "panels.h"

namespace nutshell::NUTSHELL_LEVEL {

struct ReadF32 {
    using Item = float;
    static F load(const float* p) { return F::load(p); }
};
struct ReadF16 {
    using Item = uint16_t;
    static F load(const uint16_t* p) { return F::load_f16(p); }
};
struct ReadBf16 {
    using Item = uint16_t;
    static F load(const uint16_t* p) { return F::load_bf16(p); }
};

template <class Read> struct Dense {
    using Item = typename Read::Item;
    static const Item* numbers(const Weight& w, int panel) { return (const Item*)w.data + (size_t)panel * w.in_padded * kRows; }

    // Inputs in four sums by their index modulo 4, to hide the latency of the multiply-add.
    template <int N> static void run(const Weight& w, const Activations& a, int row, int panel, float* y, int ldy) {
        const Item* data = numbers(w, panel);
        const float* x[N];
        F sum[4][N];
        NUTSHELL_UNROLL
        for (int n = 0; n < N; n++) {
            x[n] = a.f32 + (size_t)(row + n) * a.stride;
            NUTSHELL_UNROLL
            for (int i = 0; i < 4; i++) sum[i][n] = F::zero();
        }
        for (int j = 0; j < w.in_padded; j += 4, data += 4 * kRows) {
            for (size_t byte = 0; byte < 4 * kRows * sizeof(Item); byte += 64) read_ahead((const uint8_t*)data + byte);
            NUTSHELL_UNROLL
            for (int i = 0; i < 4; i++) {
                const F v = Read::load(data + i * kRows);
                NUTSHELL_UNROLL
                for (int n = 0; n < N; n++) sum[i][n] = fma(v, F::set1(x[n][j + i]), sum[i][n]);
            }
        }
        NUTSHELL_UNROLL
        for (int n = 0; n < N; n++) ((sum[0][n] + sum[1][n]) + (sum[2][n] + sum[3][n])).store(y + (size_t)n * ldy);
    }

    static void gemv(const Weight& w, const Activations& a, const void*, int tile, float* y, int ldy) {
        gemv_tile<Dense>(w, a, tile, y, ldy);
    }

    static void panel_i16(const Weight& w, int first_row, int k0, int k, int16_t* out) {
        decode_panels(w, first_row, k, out, [&](int panel, int16_t* target) {
            const F inverse = inverse_row_scales(w, panel * kRows), magic = panel_rounding();
            const Item* data = numbers(w, panel);
            for (int j = k0; j < k0 + k; j += 2, target += 2 * kRows)
                panel_pair(fma(Read::load(data + (size_t)j * kRows), inverse, magic),
                       fma(Read::load(data + (size_t)j * kRows + kRows), inverse, magic))
                    .store(target);
        });
    }

    static void panel_f32(const Weight& w, int first_row, int k0, int k, float* out) {
        decode_panels(w, first_row, k, out, [&](int panel, float* target) {
            const Item* data = numbers(w, panel);
            for (int j = k0; j < k0 + k; j++, target += kRows) Read::load(data + (size_t)j * kRows).store(target);
        });
    }
};

template <class Read> inline const LinearOps* dense_ops(bool integers) {
    using D = Dense<Read>;
    static const LinearOps ops = {panel_tile_count,
                                  panel_tile_rows,
                                  nullptr,
                                  nullptr,
                                  nullptr,
                                  D::gemv,
                                  integers ? D::panel_i16 : nullptr,
                                  integers ? panel_row_scales : nullptr,
                                  D::panel_f32,
                                  nullptr,
                                  nullptr};
    return &ops;
}
inline const LinearOps* f32_ops() { return dense_ops<ReadF32>(false); }  // no row_max: always computed as floats
inline const LinearOps* f16_ops() { return dense_ops<ReadF16>(true); }
inline const LinearOps* bf16_ops() { return dense_ops<ReadBf16>(true); }

}  // namespace nutshell::NUTSHELL_LEVEL
