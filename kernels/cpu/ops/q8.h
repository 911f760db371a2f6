// Linear with 8-bit weights: w = scale * q, q in -127..127, one f16 scale per row and group of 32, 64 or 128 inputs.
#pragma once
#include "panels.h"

namespace nutshell::NUTSHELL_LEVEL {

struct Q8 {
    static const uint8_t* codes(const Weight& w, int panel) {
        return (const uint8_t*)w.data + (size_t)panel * w.in_padded * kRows;
    }
    static const uint16_t* scales(const Weight& w, int panel) {
        return w.scales + (size_t)panel * (w.in_padded / w.group_size) * kRows;
    }

    // A quad lies in the order 0 2 1 3: the low bytes of both halves of a lane are inputs 0 1, the high bytes 2 3.
    template <int N> static void run(const Weight& w, const Activations& a, int row, int panel, float* y, int ldy) {
        const int group = w.group_size;
        const uint8_t* data = codes(w, panel);
        const uint16_t* scale = scales(w, panel);
        const int16_t* q[N];
        F total[N];
        NUTSHELL_UNROLL
        for (int n = 0; n < N; n++) {
            q[n] = a.q + (size_t)(row + n) * a.stride;
            total[n] = F::zero();
        }
        for (int block = 0; block < w.in_padded; block += kBlock) {
            const int end = block + kBlock < w.in_padded ? block + kBlock : w.in_padded;
            F part[N];
            NUTSHELL_UNROLL
            for (int n = 0; n < N; n++) part[n] = F::zero();
            for (int from = block; from < end; from += group, scale += kRows) {
                I even[N], odd[N];
                NUTSHELL_UNROLL
                for (int n = 0; n < N; n++) even[n] = odd[n] = I::zero();
                for (int k = from; k < from + group; k += kStep) {
                    for (int j = k; j < k + kStep; j += 4, data += 64) {
                        const I v = I::load(data), first = v.shl16<8>().sar16<8>(), second = v.sar16<8>();
                        read_ahead(data);
                        NUTSHELL_UNROLL
                        for (int n = 0; n < N; n++) {
                            even[n] = dot_i16(even[n], first, I::broadcast(q[n] + j));
                            odd[n] = dot_i16(odd[n], second, I::broadcast(q[n] + j + 2));
                        }
                    }
                }
                read_ahead(scale, kAhead / 8);
                const F s = F::load_f16(scale);
                NUTSHELL_UNROLL
                for (int n = 0; n < N; n++) part[n] = fma(to_float(even[n] + odd[n]), s, part[n]);
            }
            NUTSHELL_UNROLL
            for (int n = 0; n < N; n++) {
                const F s = F::set1(a.scale[(size_t)(row + n) * (a.stride / kBlock) + block / kBlock]);
                total[n] = fma(part[n], s, total[n]);
            }
        }
        NUTSHELL_UNROLL
        for (int n = 0; n < N; n++) total[n].store(y + (size_t)n * ldy);
    }

    static void gemv(const Weight& w, const Activations& a, const void*, int tile, float* y, int ldy) {
        gemv_tile<Q8>(w, a, tile, y, ldy);
    }

    template <int Shift> static F number(I quad) { return to_float(quad.shl<24 - Shift>().template sar<24>()); }

    static void panel_i16(const Weight& w, int first_row, int k0, int k, int16_t* out) {
        decode_panels(w, first_row, k, out, [&](int panel, int16_t* target) {
            const F inverse = inverse_row_scales(w, panel * kRows), magic = panel_rounding();
            const uint8_t* data = codes(w, panel);
            for (int from = k0; from < k0 + k; from += kStep) {
                const F s = F::load_f16(scales(w, panel) + (size_t)(from / w.group_size) * kRows) * inverse;
                for (int j = from; j < from + kStep; j += 4, target += 4 * kRows) {
                    const I v = I::load(data + (size_t)j * kRows);
                    panel_pair(fma(number<0>(v), s, magic), fma(number<16>(v), s, magic)).store(target);
                    panel_pair(fma(number<8>(v), s, magic), fma(number<24>(v), s, magic)).store(target + 32);
                }
            }
        });
    }

    static void panel_f32(const Weight& w, int first_row, int k0, int k, float* out) {
        decode_panels(w, first_row, k, out, [&](int panel, float* target) {
            const uint8_t* data = codes(w, panel);
            for (int from = k0; from < k0 + k; from += kStep) {
                const F s = F::load_f16(scales(w, panel) + (size_t)(from / w.group_size) * kRows);
                for (int j = from; j < from + kStep; j += 4, target += 4 * kRows) {
                    const I v = I::load(data + (size_t)j * kRows);
                    (number<0>(v) * s).store(target);
                    (number<16>(v) * s).store(target + 16);
                    (number<8>(v) * s).store(target + 32);
                    (number<24>(v) * s).store(target + 48);
                }
            }
        });
    }
};

inline const LinearOps* q8_ops() {
    static const LinearOps ops = {panel_tile_count, panel_tile_rows,  nullptr,       nullptr, nullptr, Q8::gemv,
                                  Q8::panel_i16,    panel_row_scales, Q8::panel_f32, nullptr, nullptr};
    return &ops;
}

}  // namespace nutshell::NUTSHELL_LEVEL
