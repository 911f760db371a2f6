// AQLM look-ups one at a time, for instruction sets without a shuffle of 256 bytes. Included by aqlm.h.
#pragma once

namespace nutshell::NUTSHELL_LEVEL {
namespace aqlm {

// Sums of eight rows over the units of a block, in registers. Fetches the codes `ahead` bytes further.
template <bool Fetch>
inline void add_eight(const uint8_t* c, int rows, const int16_t* t, int units, int32_t* sum, size_t ahead) {
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
    for (int u = 0; u < units; u++, c += rows, t += 256) {
#if defined(__GNUC__)
        if (Fetch) __builtin_prefetch(c + ahead);
#else
        (void)ahead;
#endif
        s0 += t[c[0]];
        s1 += t[c[1]];
        s2 += t[c[2]];
        s3 += t[c[3]];
        s4 += t[c[4]];
        s5 += t[c[5]];
        s6 += t[c[6]];
        s7 += t[c[7]];
    }
    const int32_t all[8] = {s0, s1, s2, s3, s4, s5, s6, s7};
    std::memcpy(sum, all, sizeof all);
}

// Table entries are int16: x . c / 2^16, at most 2^14 in size; 512 bytes per unit as on the other levels.
inline void gemv_tables(const Weight& w, const Activations& a, const void* tables, int tile, float* y, int ldy) {
    const Shape s(w);
    int first, rows;
    tile_rows(w, tile, &first, &rows);
    alignas(64) float acc[kMaxGemvRows * kMaxTileRows];
    std::memset(acc, 0, (size_t)a.n * (size_t)rows * sizeof(float));
    const int blocks = blocks_of(w), width = rows < 256 ? rows : 256;
    for (int b = 0; b < blocks; b++) {
        const int units = units_in(s, b);
        const uint8_t* codes = (const uint8_t*)w.data + chunk_code(w, s, b, first);
        const size_t next = b + 1 < blocks ? chunk_code(w, s, b + 1, first) - chunk_code(w, s, b, first) : 0;
        for (int r = 0; r < a.n; r++) {
            const int16_t* t = (const int16_t*)((const uint8_t*)tables + Tables::offset(w, s, a.n, b, r));
            const F scale = F::set1(Tables::scales(w, tables, r)[b]);
            for (int i = 0; i < rows; i += 16) {
                const uint8_t* c = codes + (size_t)(i / width * width) * (size_t)units + (size_t)(i % width);
                int32_t sum[16];
                if (r == 0) add_eight<true>(c, width, t, units, sum, next);
                else add_eight<false>(c, width, t, units, sum, next);
                add_eight<false>(c + 8, width, t, units, sum + 8, next);
                float* to = acc + (size_t)r * (size_t)rows + i;
                fma(to_float(I::load(sum)), scale, F::load(to)).store(to);
            }
        }
    }
    for (int r = 0; r < a.n; r++)
        for (int i = 0; i < rows; i += 16)
            (F::load(acc + (size_t)r * (size_t)rows + i) * F::load_f16(w.scales + first + i)).store(y + (size_t)r * (size_t)ldy + i);
}

template <int G>
inline void build_book(const int16_t* dot, const int16_t* q, int groups, uint8_t* out, size_t step) {
    for (int e = 0; e < 256; e += 16) {
        I c[G / 2];
        for (int p = 0; p < G / 2; p++) c[p] = I::load(dot + (size_t)e * G + 32 * p);
        for (int g = 0; g < groups; g++) {
            I t = I::set1(0x8000);
            for (int p = 0; p < G / 2; p++) t = dot_i16(t, c[p], I::broadcast(q + g * G + 2 * p));
            int32_t wide[16];
            int16_t narrow[16];
            t.template sar<16>().store(wide);
            for (int i = 0; i < 16; i++) narrow[i] = (int16_t)wide[i];
            std::memcpy(out + (size_t)g * step + 2 * (size_t)e, narrow, sizeof narrow);
        }
    }
}

inline void build_tables(const Weight& w, const Activations& a, int part, void* tables) {
    const Shape s(w);
    const Derived& d = *(const Derived*)w.derived;
    const int blocks = blocks_of(w), parts = (blocks + kPartBlocks - 1) / kPartBlocks, row = part / parts;
    for (int b = part % parts * kPartBlocks; b < blocks && b < (part % parts + 1) * kPartBlocks; b++) {
        alignas(64) int16_t q[kBlock];
        Tables::scales(w, tables, row)[b] = quantize_block(d, a, row, b, s.group, q);
        uint8_t* out = (uint8_t*)tables + Tables::offset(w, s, a.n, b, row);
        const int groups = units_in(s, b) / s.books;
        for (int k = 0; k < s.books; k++) {
            const int16_t* dot = d.dot() + (size_t)k * 256 * (size_t)s.group;
            uint8_t* o = out + (size_t)k * 512;
            if (s.group == 8) build_book<8>(dot, q, groups, o, (size_t)s.books * 512);
            else build_book<16>(dot, q, groups, o, (size_t)s.books * 512);
        }
    }
}

inline void panel_decoded(const Weight& w, int first_row, int k0, int k, int16_t* panel);
inline void panel_tables(const Weight& w, int first_row, int k0, int k, int16_t* panel) {
    panel_decoded(w, first_row, k0, k, panel);
}

}  // namespace aqlm
}  // namespace nutshell::NUTSHELL_LEVEL
