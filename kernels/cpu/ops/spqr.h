// SpQR: 3- or 4-bit weights in tiles of 16 rows x 16 inputs with quantized scales and zeros, plus sparse outliers:
// w = s * (q - z), s = ss * (cs - zs), z = sz * (cz - zz) with 3-bit cs, cz per row of the tile.
#pragma once
#include "outliers.h"
#include "panels.h"

namespace nutshell::NUTSHELL_LEVEL {

// Codes of 32 inputs of a row panel. A quad is four inputs: one byte each, four per lane.
struct Codes3 {
    static constexpr int kBytes = 192;
    I low[2], high;
    NUTSHELL_INLINE void load(const uint8_t* p) { low[0] = I::load(p), low[1] = I::load(p + 64), high = I::load(p + 128); }
    template <int T, int J> NUTSHELL_INLINE I quad() const {
        constexpr int up = 2 - 4 * T - J;  // from bit 4T + J of the high plane to bit 2, above the two low bits
        I top = high;
        if (up > 0) top = high.shl<(up > 0 ? up : 0)>();
        if (up < 0) top = high.shr<(up < 0 ? -up : 0)>();
        return select(I::set1(0x03030303), J ? low[T].shr<2 * J>() : low[T], top) & I::set1(0x07070707);
    }
};
struct Codes4 {
    static constexpr int kBytes = 256;
    I pairs[4];
    NUTSHELL_INLINE void load(const uint8_t* p) {
        for (int i = 0; i < 4; i++) pairs[i] = I::load(p + 64 * i);
    }
    template <int T, int J> NUTSHELL_INLINE I quad() const {
        const I v = pairs[2 * T + J / 2];
        return (J & 1 ? v.shr<4>() : v) & I::set1(0x0F0F0F0F);
    }
};

// Second-level statistics of the tiles of one block of one row panel, as floats: (ss, sz, zs, zz) per tile.
struct TileStatistics {
    float v[4 * kBlock / 16];
    NUTSHELL_INLINE void load(const uint16_t* p, int tiles) {
        if (tiles == kBlock / 16) {
            F::load_f16(p).store(v);
            F::load_f16(p + 16).store(v + 16);
        } else {
            for (int i = 0; i < 4 * tiles; i++) v[i] = f16_to_f32(p[i]);
        }
    }
};

// First-level statistics of one tile: a scale and a zero per lane.
struct ScaleZero {
    F s, z;
    NUTSHELL_INLINE ScaleZero(const float* second, const uint16_t* planes)
        : s(code(-second[2], planes) * F::set1(second[0])), z(code(-second[3], planes + 3) * F::set1(second[1])) {}
    static NUTSHELL_INLINE F code(float start, const uint16_t* planes) {
        const F one = add_masked(F::set1(start), planes[0], F::set1(1));
        return add_masked(add_masked(one, planes[1], F::set1(2)), planes[2], F::set1(4));
    }
};

// The dense part of a row panel for N activation rows.
template <class Codes, int N> struct SpqrSum {
    Codes codes;
    TileStatistics statistics;
    const uint16_t* planes;
    const int8_t *hi[N], *lo[N];
    const int32_t* sum16[N];
    F part[N];
    I high[N], low[N];

    template <int T, int J> NUTSHELL_INLINE void quad(int k) {
        const I q = codes.template quad<T, J>();
        for (int n = 0; n < N; n++) {
            high[n] = dot_u5s8(high[n], q, I::broadcast(hi[n] + k + 16 * T + 4 * J));
            low[n] = dot_u5s8(low[n], q, I::broadcast(lo[n] + k + 16 * T + 4 * J));
        }
    }

    // part += s * (dot(q, x) - z * sum(x)) for tile T of the step at input k; the dot is exact, below 2^22.
    template <int T> NUTSHELL_INLINE void tile(int k) {
        for (int n = 0; n < N; n++) high[n] = low[n] = I::zero();
        quad<T, 0>(k);
        quad<T, 1>(k);
        quad<T, 2>(k);
        quad<T, 3>(k);
        const ScaleZero f(statistics.v + (k + 16 * T) % kBlock / 4, planes + (size_t)(k / 16 + T) * 6);
        for (int n = 0; n < N; n++) {
            const F sum = to_float(I::broadcast(sum16[n] + k / 16 + T));
            const F dot = to_float(high[n].template shl<7>() + low[n]);
            part[n] = fma(f.s, dot - f.z * sum, part[n]);
        }
    }
};

template <class Codes> struct Spqr {
    static const uint8_t* codes(const Weight& w, int panel) {
        return (const uint8_t*)w.data + (size_t)panel * (w.in_padded / kStep) * Codes::kBytes;
    }
    static const uint16_t* planes(const Weight& w, int panel) { return w.levels + (size_t)panel * (w.in_padded / 16) * 6; }
    static const uint16_t* second(const Weight& w, int panel) { return w.scales + (size_t)panel * (w.in_padded / 16) * 4; }

    template <int N> static void run(const Weight& w, const Activations& a, int row, int panel, float* y, int ldy) {
        const uint8_t* data = codes(w, panel);
        SpqrSum<Codes, N> sum;
        F total[N];
        sum.planes = planes(w, panel);
        for (int n = 0; n < N; n++) {
            sum.hi[n] = a.hi + (size_t)(row + n) * a.stride;
            sum.lo[n] = a.lo + (size_t)(row + n) * a.stride;
            sum.sum16[n] = a.sum16 + (size_t)(row + n) * (a.stride / 16);
            total[n] = F::zero();
        }
        for (int block = 0; block < w.in_padded; block += kBlock) {
            const int end = block + kBlock < w.in_padded ? block + kBlock : w.in_padded;
            sum.statistics.load(second(w, panel) + (size_t)block / 16 * 4, (end - block) / 16);
            for (int n = 0; n < N; n++) sum.part[n] = F::zero();
            for (int k = block; k < end; k += kStep, data += Codes::kBytes) {
                sum.codes.load(data);
                for (int i = 0; i < Codes::kBytes; i += 64) read_ahead(data + i);
                sum.template tile<0>(k);
                sum.template tile<1>(k);
            }
            for (int n = 0; n < N; n++) {
                const F s = F::set1(a.scale[(size_t)(row + n) * (a.stride / kBlock) + block / kBlock]);
                total[n] = fma(sum.part[n], s, total[n]);
            }
        }
        for (int n = 0; n < N; n++) total[n].store(y + (size_t)n * ldy);
    }

    static void gemv(const Weight& w, const Activations& a, const void*, int tile, float* y, int ldy) {
        gemv_tile<Spqr>(w, a, tile, y, ldy);
        add_outliers(w, a, tile * kTilePanels * kRows, kTilePanels * kRows, y, ldy);
    }

    template <int Byte> static F number(I quad) { return to_float(quad.shr<8 * Byte>() & I::set1(0xFF)); }

    template <int T, int J, class Put> static NUTSHELL_INLINE void quad(const Codes& step, F s, F offset, Put put) {
        const I q = step.template quad<T, J>();
        put(16 * T + 4 * J, fma(number<0>(q), s, offset), fma(number<1>(q), s, offset));
        put(16 * T + 4 * J + 2, fma(number<2>(q), s, offset), fma(number<3>(q), s, offset));
    }
    template <int T, class Put>
    static NUTSHELL_INLINE void tile(const Codes& step, const float* stats, const uint16_t* bits, F factor, Put put) {
        const ScaleZero f(stats + 4 * T, bits + 6 * T);
        const F s = f.s * factor, offset = F::zero() - s * f.z;
        quad<T, 0>(step, s, offset, put);
        quad<T, 1>(step, s, offset, put);
        quad<T, 2>(step, s, offset, put);
        quad<T, 3>(step, s, offset, put);
    }

    // put(p, even, odd): 16 rows at inputs k0 + p and k0 + p + 1, times factor, without the outliers
    template <class Put> static void decode(const Weight& w, int panel, int k0, int k, F factor, Put put) {
        for (int from = k0; from < k0 + k; from += kStep) {
            float stats[8];
            for (int i = 0; i < 8; i++) stats[i] = f16_to_f32(second(w, panel)[(size_t)from / 4 + i]);
            const uint16_t* bits = planes(w, panel) + (size_t)(from / 16) * 6;
            Codes step;
            step.load(codes(w, panel) + (size_t)(from / kStep) * Codes::kBytes);
            const auto at = [&](int p, F even, F odd) { put(from - k0 + p, even, odd); };
            tile<0>(step, stats, bits, factor, at);
            tile<1>(step, stats, bits, factor, at);
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
