// AQLM decoded to numbers: exact panels, panels of codes longer than a byte, and the table of functions. Included by aqlm.h.
#pragma once

namespace nutshell::NUTSHELL_LEVEL {
namespace aqlm {

inline int code_at(const Weight& w, bool bytes, size_t i) {
    return bytes ? ((const uint8_t*)w.data)[i] : ((const uint16_t*)w.data)[i];
}

// The group's numbers, without the row scale, of one row: out[i] = sum over codebooks, i < group.
template <int G>
inline void decode_group(const Weight& w, const Shape& s, bool bytes, size_t code, int rows, float* out) {
    for (int i = 0; i < G; i++) out[i] = 0;
    for (int book = 0; book < s.books; book++) {
        // a code past the end would be a damaged file: it must not read past the codebook
        const size_t e = (size_t)(code_at(w, bytes, code + (size_t)book * (size_t)rows) & (s.entries - 1));
        const uint16_t* entry = w.codebooks + ((size_t)book * (size_t)s.entries + e) * (size_t)G;
#if defined(NUTSHELL_AVX512) || defined(NUTSHELL_AVX2)
        for (int i = 0; i < G; i += 8)
            _mm256_storeu_ps(out + i, _mm256_add_ps(_mm256_loadu_ps(out + i),
                                                    _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)(entry + i)))));
#else
        for (int i = 0; i < G; i++) out[i] += f16_to_f32(entry[i]);
#endif
    }
}

// 16 rows by the k inputs from k0, without row scales: out[p * 16 + lane].
template <int G>
inline void decode_rows(const Weight& w, const Shape& s, int first_row, int k0, int k, float* out) {
    int first, rows;
    tile_of(w, first_row, &first, &rows);
    const bool bytes = w.bits <= 8;
    for (int p = 0; p < k; p += G) {
        const int block = (k0 + p) / kBlock, unit = (k0 + p) % kBlock / G * s.books;
        const size_t code = chunk_code(w, s, block, first) + (size_t)unit * (size_t)rows + (size_t)(first_row - first);
        float group[16][G];
        for (int lane = 0; lane < 16; lane++) decode_group<G>(w, s, bytes, code + (size_t)lane, rows, group[lane]);
        for (int i = 0; i < G; i++)
            for (int lane = 0; lane < 16; lane++) out[(p + i) * 16 + lane] = group[lane][i];
    }
}
inline void decode(const Weight& w, const Shape& s, int first_row, int k0, int k, float* out) {
    if (s.group == 8) decode_rows<8>(w, s, first_row, k0, k, out);
    else decode_rows<16>(w, s, first_row, k0, k, out);
}

inline void panel_f32(const Weight& w, int first_row, int k0, int k, float* panel) {
    const Shape s(w);
    for (int sub = 0; sub < kPanelRows / 16; sub++) {
        const F scale = F::load_f16(w.scales + first_row + 16 * sub);
        float* out = panel + (size_t)sub * (size_t)k * 16;
        decode(w, s, first_row + 16 * sub, k0, k, out);
        for (int p = 0; p < k; p++) (F::load(out + 16 * p) * scale).store(out + 16 * p);
    }
}

inline void row_scales(const Weight& w, int first_row, float* row_scale) {
    const F tensor = F::set1(((const Derived*)w.derived)->panel_scale);
    for (int i = 0; i < kPanelRows; i += 16) (F::load_f16(w.scales + first_row + i) * tensor).store(row_scale + i);
}

// Decoded and rounded; the only way for codes longer than a byte.
inline void panel_decoded(const Weight& w, int first_row, int k0, int k, int16_t* panel) {
    const Shape s(w);
    const F to_integer = F::set1(1.0f / ((const Derived*)w.derived)->panel_scale);
    float numbers[32 * 16];
    for (int sub = 0; sub < kPanelRows / 16; sub++)
        for (int p = 0; p < k; p += 32) {
            decode(w, s, first_row + 16 * sub, k0 + p, 32, numbers);
            int16_t* out = panel + ((size_t)sub * (size_t)k / 2 + (size_t)p / 2) * 32;
            for (int i = 0; i < 32; i += 2) {
                const I even = round_to_int(F::load(numbers + 16 * i) * to_integer);
                const I odd = round_to_int(F::load(numbers + 16 * i + 16) * to_integer);
                (odd.shl<16>() | (even & I::set1(0xFFFF))).store(out + 16 * i);
            }
        }
}

inline void panel_i16(const Weight& w, int first_row, int k0, int k, int16_t* panel) {
    if (Shape(w).byte_codes()) panel_tables(w, first_row, k0, k, panel);
    else panel_decoded(w, first_row, k0, k, panel);
}

inline void gemv(const Weight& w, const Activations& a, const void* tables, int tile, float* y, int ldy) {
    if (Shape(w).byte_codes()) gemv_tables(w, a, tables, tile, y, ldy);
    else gemv_gather(w, a, tile, y, ldy);
}

}  // namespace aqlm

inline const LinearOps* aqlm_ops() {
    static const LinearOps ops = [] {
        LinearOps o = {aqlm::tile_count,   aqlm::tile_rows, aqlm::table_bytes, aqlm::table_parts,
                       aqlm::build_tables, aqlm::gemv,      aqlm::panel_i16,   aqlm::row_scales,
                       aqlm::panel_f32,    aqlm::derived_bytes, aqlm::derive};
#if defined(NUTSHELL_AVX512)
        o.slice_units = aqlm::slice_units;
        o.slice_floats = aqlm::slice_floats;
        o.slice_sums = aqlm::slice_sums;
        o.slice_data = aqlm::slice_data;
        o.join_slices = aqlm::join_slices;
#endif
        return o;
    }();
    return &ops;
}

}  // namespace nutshell::NUTSHELL_LEVEL
