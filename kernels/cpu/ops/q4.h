// Linear with 4-bit weights: w = scale * (q - 8), one f16 scale per row and group of 32, 64 or 128 inputs.
#pragma once
#include "panels.h"

namespace nutshell::NUTSHELL_LEVEL {

inline const uint8_t* q4_codes(const Weight& w, int panel) {
    return (const uint8_t*)w.data + (size_t)panel * w.in_padded * (kRows / 2);
}
inline const uint16_t* q4_scales(const Weight& w, int panel) {
    return w.scales + (size_t)panel * (w.in_padded / w.group_size) * kRows;
}

template <int Group> struct Q4Dot {
    // Per group: 128 * dot(q, hi) + dot(q, lo) - 8 * sum(x) in integers, exact (below 2^23).
    template <int N> static void run(const Weight& w, const Activations& a, int row, int panel, float* y, int ldy) {
        // Sums side by side hide the latency of the dot products; a group of 32 is short, and the next ones run beside it.
        constexpr int kChains = Group == 32 || N > 2 ? 1 : 2;
        const I nibble = I::set1(0x0F0F0F0F);
        const uint8_t* data = q4_codes(w, panel);
        const uint16_t* scale = q4_scales(w, panel);
        const int8_t *hi[N], *lo[N];
        const int32_t* sum16[N];
        F total[N];
        NUTSHELL_UNROLL
        for (int n = 0; n < N; n++) {
            hi[n] = a.hi + (size_t)(row + n) * a.stride;
            lo[n] = a.lo + (size_t)(row + n) * a.stride;
            sum16[n] = a.sum16 + (size_t)(row + n) * (a.stride / 16);
            total[n] = F::zero();
        }
        for (int block = 0; block < w.in_padded; block += kBlock) {
            const int end = block + kBlock < w.in_padded ? block + kBlock : w.in_padded;
            F part[N];
            NUTSHELL_UNROLL
            for (int n = 0; n < N; n++) part[n] = F::zero();
            for (int from = block; from < end; from += Group, scale += kRows) {
                I high[kChains][N], low[kChains][N];
                NUTSHELL_UNROLL
                for (int n = 0; n < N; n++) {
                    int32_t sum = 0;
                    NUTSHELL_UNROLL
                    for (int i = 0; i < Group / 16; i++) sum += sum16[n][from / 16 + i];
                    NUTSHELL_UNROLL
                    for (int c = 0; c < kChains; c++) high[c][n] = low[c][n] = I::zero();
                    low[0][n] = I::set1(-8 * sum);
                }
                for (int k = from; k < from + Group; k += kStep) {
                    NUTSHELL_UNROLL
                    for (int j = k; j < k + kStep; j += 8, data += 64) {
                        const I v = I::load(data), first = v & nibble, second = v.shr<4>() & nibble;
                        read_ahead(data);
                        NUTSHELL_UNROLL
                        for (int n = 0; n < N; n++) {
                            I &high2 = high[kChains - 1][n], &low2 = low[kChains - 1][n];
                            high[0][n] = dot_u5s8(high[0][n], first, I::broadcast(hi[n] + j));
                            low[0][n] = dot_u5s8(low[0][n], first, I::broadcast(lo[n] + j));
                            high2 = dot_u5s8(high2, second, I::broadcast(hi[n] + j + 4));
                            low2 = dot_u5s8(low2, second, I::broadcast(lo[n] + j + 4));
                        }
                    }
                }
                read_ahead(scale, kAhead / 8);
                const F s = F::load_f16(scale);
                NUTSHELL_UNROLL
                for (int n = 0; n < N; n++) {
                    if (kChains == 2) high[0][n] = high[0][n] + high[kChains - 1][n], low[0][n] = low[0][n] + low[kChains - 1][n];
                    part[n] = fma(to_float(high[0][n].template shl<7>() + low[0][n]), s, part[n]);
                }
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
};

struct Q4 {
    // The nibble at bit `Shift`, minus 8; the argument has the top bit of each nibble flipped.
    template <int Shift> static F centred(I flipped) { return to_float(flipped.shl<28 - Shift>().template sar<28>()); }
    template <int Shift> static I pair(I flipped, F scale) {
        return panel_pair(fma(centred<Shift>(flipped), scale, panel_rounding()), fma(centred<Shift + 8>(flipped), scale, panel_rounding()));
    }
    static I load_flipped(const uint8_t* p) { return I::load(p) ^ I::set1((int32_t)0x88888888u); }

    static void gemv(const Weight& w, const Activations& a, const void*, int tile, float* y, int ldy) {
        switch (w.group_size) {
            case 32: gemv_tile<Q4Dot<32>>(w, a, tile, y, ldy); break;
            case 64: gemv_tile<Q4Dot<64>>(w, a, tile, y, ldy); break;
            default: gemv_tile<Q4Dot<128>>(w, a, tile, y, ldy); break;
        }
    }

    static void panel_i16(const Weight& w, int first_row, int k0, int k, int16_t* out) {
        decode_panels(w, first_row, k, out, [&](int panel, int16_t* target) {
            const F inverse = inverse_row_scales(w, panel * kRows);
            const uint8_t* data = q4_codes(w, panel);
            for (int from = k0; from < k0 + k; from += kStep) {
                const F s = F::load_f16(q4_scales(w, panel) + (size_t)(from / w.group_size) * kRows) * inverse;
                for (int j = from; j < from + kStep; j += 8, target += 8 * kRows) {
                    const I v = load_flipped(data + (size_t)j * (kRows / 2));
                    pair<0>(v, s).store(target);
                    pair<16>(v, s).store(target + 32);
                    pair<4>(v, s).store(target + 64);
                    pair<20>(v, s).store(target + 96);
                }
            }
        });
    }

    static void panel_f32(const Weight& w, int first_row, int k0, int k, float* out) {
        decode_panels(w, first_row, k, out, [&](int panel, float* target) {
            const uint8_t* data = q4_codes(w, panel);
            for (int from = k0; from < k0 + k; from += kStep) {
                const F s = F::load_f16(q4_scales(w, panel) + (size_t)(from / w.group_size) * kRows);
                for (int j = from; j < from + kStep; j += 8, target += 8 * kRows) {
                    const I v = load_flipped(data + (size_t)j * (kRows / 2));
                    (centred<0>(v) * s).store(target);
                    (centred<8>(v) * s).store(target + 16);
                    (centred<16>(v) * s).store(target + 32);
                    (centred<24>(v) * s).store(target + 48);
                    (centred<4>(v) * s).store(target + 64);
                    (centred<12>(v) * s).store(target + 80);
                    (centred<20>(v) * s).store(target + 96);
                    (centred<28>(v) * s).store(target + 112);
                }
            }
        });
    }
};

inline const LinearOps* q4_ops() {
    static const LinearOps ops = {panel_tile_count, panel_tile_rows, nullptr,          nullptr,       nullptr, Q4::gemv,
                                  Q4::panel_i16,    panel_row_scales, Q4::panel_f32, nullptr, nullptr};
    return &ops;
}

}  // namespace nutshell::NUTSHELL_LEVEL
