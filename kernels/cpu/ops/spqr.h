// SpQR: 3- or 4-bit weights in tiles of 16 rows x 16 inputs with quantized scales and zeros, plus sparse outliers:
// w = s * (q - z), s = ss * (cs - zs), z = sz * (cz - zz) with 3-bit cs, cz per row of the tile.
#pragma once
#include "fields3.h"
#include "outliers.h"
#include "panels.h"

namespace nutshell::NUTSHELL_LEVEL {

// Codes of 32 inputs of a row panel. A quad is four inputs: one byte each, four per lane.
struct Codes3 {
    static constexpr int kBytes = 192;
    I low[2], high;
    NUTSHELL_INLINE void load(const uint8_t* p) { low[0] = I::load(p), low[1] = I::load(p + 64), high = I::load(p + 128); }
    // Quads J and J + 2 of tile T in the two nibbles of a byte: the high plane has their bits 4 apart, as the low one has.
    template <int T, int J> NUTSHELL_INLINE I nibbles() const {
        constexpr int up = 2 - 2 * T - J;
        I top = high;
        if (up > 0) top = high.shl<(up > 0 ? up : 0)>();
        if (up < 0) top = high.shr<(up < 0 ? -up : 0)>();
        return select(I::set1(0x33333333), J ? low[T].shr<2 * J>() : low[T], top);
    }
    template <int T> NUTSHELL_INLINE void quads(I* q) const {
        const I mask = I::set1(0x07070707), even = nibbles<T, 0>(), odd = nibbles<T, 1>();
        q[0] = even & mask;
        q[1] = odd & mask;
        q[2] = even.shr<4>() & mask;
        q[3] = odd.shr<4>() & mask;
    }
};
struct Codes4 {
    static constexpr int kBytes = 256;
    I pairs[4];
    NUTSHELL_INLINE void load(const uint8_t* p) {
        NUTSHELL_UNROLL
        for (int i = 0; i < 4; i++) pairs[i] = I::load(p + 64 * i);
    }
    template <int T> NUTSHELL_INLINE void quads(I* q) const {
        const I mask = I::set1(0x0F0F0F0F);
        q[0] = pairs[2 * T] & mask;
        q[1] = pairs[2 * T].shr<4>() & mask;
        q[2] = pairs[2 * T + 1] & mask;
        q[3] = pairs[2 * T + 1].shr<4>() & mask;
    }
};

// Second-level statistics of the tiles of a span of a row panel, as floats: (ss, -sz, -zs, -zz) per tile. A span is long,
// because a number just stored is slow to read again as part of another: 1024 inputs took 3/4 of the time of 128.
constexpr int kSpan = 1024;
struct TileStatistics {
    float v[4 * kSpan / 16];
    NUTSHELL_INLINE void load(const uint16_t* p, int tiles) {
        static const float signs[kRows] = {1, -1, -1, -1, 1, -1, -1, -1, 1, -1, -1, -1, 1, -1, -1, -1};
        const F sign = F::load(signs);
        int i = 0;
        for (; i + kRows <= 4 * tiles; i += kRows) (F::load_f16(p + i) * sign).store(v + i);
        for (; i < 4 * tiles; i++) v[i] = f16_to_f32(p[i]) * signs[i % 4];
    }
};

// First-level statistics of one tile: a scale and a zero, with the sign changed, per lane.
struct ScaleZero {
    F s, minus_z;
    NUTSHELL_INLINE ScaleZero(const float* second, const uint16_t* levels)
        : s((to_float(fields3<0>(levels)) + F::set1(second[2])) * F::set1(second[0])),
          minus_z((to_float(fields3<1>(levels)) + F::set1(second[3])) * F::set1(second[1])) {}
};

// N activation rows of a span: the two planes of their integers, and the sums of 16 as floats.
template <int N> struct SpanActivations {
    const int8_t *hi[N], *lo[N];
    float sums[N][kSpan / 16];
    NUTSHELL_INLINE void load(const Activations& a, int row, int from, int tiles) {
        NUTSHELL_UNROLL
        for (int n = 0; n < N; n++) {
            hi[n] = a.hi + (size_t)(row + n) * a.stride + from;
            lo[n] = a.lo + (size_t)(row + n) * a.stride + from;
            const int32_t* sum16 = a.sum16 + (size_t)(row + n) * (a.stride / 16) + from / 16;
            for (int i = 0; i < tiles; i += kRows)
                to_float(float_to_bits(F::load_first((const float*)sum16 + i, tiles - i < kRows ? tiles - i : kRows)))
                    .store(sums[n] + i);
        }
    }
};

template <class Codes> struct Spqr {
    static const uint8_t* codes(const Weight& w, int panel) {
        return (const uint8_t*)w.data + (size_t)panel * (w.in_padded / kStep) * Codes::kBytes;
    }
    static const uint16_t* levels(const Weight& w, int panel) { return w.levels + (size_t)panel * (w.in_padded / 16) * 6; }
    static const uint16_t* second(const Weight& w, int panel) { return w.scales + (size_t)panel * (w.in_padded / 16) * 4; }

    // part += s * (dot(q, x) - z * sum(x)) for tile T of the step at input k of the span; the dot is exact, below 2^22.
    template <int T, int N>
    static NUTSHELL_INLINE void dot(const Codes& step, const TileStatistics& second, const uint16_t* levels,
                                    const SpanActivations<N>& x, int k, F* part) {
        const int t = k / 16 + T, at = k + 16 * T;
        I q[4];
        step.template quads<T>(q);
        const ScaleZero f(second.v + 4 * t, levels + 6 * t);
        NUTSHELL_UNROLL
        for (int n = 0; n < N; n++) {
            I high = I::zero(), low = I::zero();
            NUTSHELL_UNROLL
            for (int j = 0; j < 4; j++) {
                high = dot_u5s8(high, q[j], I::broadcast(x.hi[n] + at + 4 * j));
                low = dot_u5s8(low, q[j], I::broadcast(x.lo[n] + at + 4 * j));
            }
            part[n] = fma(f.s, fma(f.minus_z, F::set1(x.sums[n][t]), to_float(high.shl<7>() + low)), part[n]);
        }
    }

    template <int N>
    static void run(const Weight& w, const Activations& a, int row, int panel, float* y, int ldy) {
        const uint8_t* data = codes(w, panel);
        F total[N];
        NUTSHELL_UNROLL
        for (int n = 0; n < N; n++) total[n] = F::zero();
        for (int span = 0; span < w.in_padded; span += kSpan) {
            const int size = w.in_padded - span < kSpan ? w.in_padded - span : kSpan;
            TileStatistics statistics;
            SpanActivations<N> x;
            statistics.load(second(w, panel) + (size_t)span / 4, size / 16);
            x.load(a, row, span, size / 16);
            const uint16_t* bits = levels(w, panel) + (size_t)span / 16 * 6;
            for (int block = 0; block < size; block += kBlock) {
                const int end = block + kBlock < size ? block + kBlock : size;
                F part[N];
                NUTSHELL_UNROLL
                for (int n = 0; n < N; n++) part[n] = F::zero();
                // 64 and 96 bytes a block, for the block 16 blocks later
                read_ahead(second(w, panel) + (size_t)(span + block) / 4, 16 * 64);
                read_ahead(bits + block / 16 * 6, 16 * 96);
                read_ahead(bits + block / 16 * 6, 16 * 96 + 48);
                for (int k = block; k < end; k += kStep, data += Codes::kBytes) {
                    Codes step;
                    step.load(data);
                    for (int i = 0; i < Codes::kBytes; i += 64) read_ahead(data + i);
                    dot<0, N>(step, statistics, bits, x, k, part);
                    dot<1, N>(step, statistics, bits, x, k, part);
                }
                NUTSHELL_UNROLL
                for (int n = 0; n < N; n++) {
                    const F s = F::set1(a.scale[(size_t)(row + n) * (a.stride / kBlock) + (span + block) / kBlock]);
                    total[n] = fma(part[n], s, total[n]);
                }
            }
        }
        // after every 16 rows, while the lines asked for ahead still come: after 64 rows the memory would rest
        const int32_t* steps = w.outlier_steps + 2 * panel;
        add_steps<N>(w, steps[0], steps[1], a, row, data, total);
        NUTSHELL_UNROLL
        for (int n = 0; n < N; n++) total[n].store(y + (size_t)n * ldy);
        if (steps[1] < steps[2]) add_left_over<N>(w, panel, a, row, data + 64 * (steps[1] - steps[0]), y, ldy);
    }

    static void gemv(const Weight& w, const Activations& a, const void*, int tile, float* y, int ldy) {
        gemv_tile<Spqr>(w, a, tile, y, ldy);
    }

    template <int Byte> static F number(I quad) { return to_float(quad.shr<8 * Byte>() & I::set1(0xFF)); }

    // put(p, even, odd): 16 rows at inputs k0 + p and k0 + p + 1, times factor, without the outliers
    template <int T, class Put>
    static NUTSHELL_INLINE void tile(const Codes& step, const TileStatistics& second, const uint16_t* bits, F factor, Put put) {
        const ScaleZero f(second.v + 4 * T, bits + 6 * T);
        const F s = f.s * factor, offset = s * f.minus_z;
        I q[4];
        step.template quads<T>(q);
        for (int j = 0; j < 4; j++) {
            put(16 * T + 4 * j, fma(number<0>(q[j]), s, offset), fma(number<1>(q[j]), s, offset));
            put(16 * T + 4 * j + 2, fma(number<2>(q[j]), s, offset), fma(number<3>(q[j]), s, offset));
        }
    }
    template <class Put> static void decode(const Weight& w, int panel, int k0, int k, F factor, Put put) {
        for (int from = k0; from < k0 + k; from += kStep) {
            TileStatistics statistics;
            statistics.load(second(w, panel) + (size_t)from / 4, 2);
            const uint16_t* bits = levels(w, panel) + (size_t)(from / 16) * 6;
            Codes step;
            step.load(codes(w, panel) + (size_t)(from / kStep) * Codes::kBytes);
            const auto at = [&](int p, F even, F odd) { put(from - k0 + p, even, odd); };
            tile<0>(step, statistics, bits, factor, at);
            tile<1>(step, statistics, bits, factor, at);
        }
    }

    static void panel_i16(const Weight& w, int first_row, int k0, int k, int16_t* out) {
        const F magic = panel_rounding();
        decode_panels(w, first_row, k, out, [&](int panel, int16_t* target) {
            decode(w, panel, k0, k, inverse_row_scales(w, panel * kRows),
                   [&](int p, F even, F odd) { panel_pair(even + magic, odd + magic).store(target + (size_t)p * kRows); });
        });
        float inverse[kRows];
        for (int row = first_row; row < first_row + kPanelRows && row < w.out; row++) {
            const int lane = row % kRows;
            if (lane == 0) inverse_row_scales(w, row).store(inverse);
            int16_t* target = out + (size_t)((row - first_row) / kRows) * k * kRows + 2 * lane;
            each_outlier(w, row, k0, k, [&](int p, float value) {
                int16_t* cell = target + (size_t)(p / 2) * 2 * kRows + p % 2;
                // as 16-bit integers, because the dense part alone may be larger than the row's largest weight
                const int sum = (int16_t)(uint16_t)(*cell + (int)std::nearbyintf(value * inverse[lane]));
                *cell = (int16_t)(sum > 8191 ? 8191 : sum < -8191 ? -8191 : sum);
            });
        }
    }

    static void panel_f32(const Weight& w, int first_row, int k0, int k, float* out) {
        decode_panels(w, first_row, k, out, [&](int panel, float* target) {
            decode(w, panel, k0, k, F::set1(1), [&](int p, F even, F odd) {
                even.store(target + (size_t)p * kRows);
                odd.store(target + (size_t)(p + 1) * kRows);
            });
        });
        for (int row = first_row; row < first_row + kPanelRows && row < w.out; row++) {
            float* target = out + (size_t)((row - first_row) / kRows) * k * kRows + row % kRows;
            each_outlier(w, row, k0, k, [&](int p, float value) { target[(size_t)p * kRows] += value; });
        }
    }
};

// Two functions for each: the number of bits is known at run time.
inline void spqr_gemv(const Weight& w, const Activations& a, const void* tables, int tile, float* y, int ldy) {
    (w.bits == 3 ? Spqr<Codes3>::gemv : Spqr<Codes4>::gemv)(w, a, tables, tile, y, ldy);
}
inline void spqr_panel_i16(const Weight& w, int first_row, int k0, int k, int16_t* panel) {
    (w.bits == 3 ? Spqr<Codes3>::panel_i16 : Spqr<Codes4>::panel_i16)(w, first_row, k0, k, panel);
}
inline void spqr_panel_f32(const Weight& w, int first_row, int k0, int k, float* panel) {
    (w.bits == 3 ? Spqr<Codes3>::panel_f32 : Spqr<Codes4>::panel_f32)(w, first_row, k0, k, panel);
}

inline const LinearOps* spqr_ops() {
    static const LinearOps ops = {panel_tile_count, panel_tile_rows,  nullptr,        nullptr, nullptr, spqr_gemv,
                                  spqr_panel_i16,   panel_row_scales, spqr_panel_f32, nullptr, nullptr};
    return &ops;
}

}  // namespace nutshell::NUTSHELL_LEVEL
