// AQLM: w = row scale * sum over codebooks of codebook[code]. Codes of up to 8 bits are looked up in tables made from the
// activations (one per group of inputs and codebook, shared by all rows); longer codes are decoded to numbers.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "../simd/float16.h"
#include "../types.h"

namespace nutshell::NUTSHELL_LEVEL {
namespace aqlm {

// A *unit* is one group of inputs under one codebook: one look-up per row. Its number is group * K + codebook.
struct Shape {
    int group, books, entries, units, block_units;
    explicit Shape(const Weight& w)
        : group(w.group_size), books(w.num_codebooks), entries(1 << w.bits), units(w.in_padded / w.group_size * w.num_codebooks),
          block_units(kBlock / w.group_size * w.num_codebooks) {}
    // Look-ups work for codes of one byte; 16 codebooks are what the 16-bit sums of a block of 128 inputs hold
    // (8 K pairs of at most 254).
    bool byte_codes() const { return entries <= 256 && books <= 16; }
};

constexpr int kTilesLeft = 3;  // of the size of the next one, so that threads end together

inline int blocks_of(const Weight& w) { return (w.in_padded + kBlock - 1) / kBlock; }
inline int units_in(const Shape& s, int block) {
    int left = s.units - block * s.block_units;
    return left < s.block_units ? left : s.block_units;
}

// The layout's chunks are 256 rows while 256 remain, then one of 128, then 64. A tile of work is several of the large
// ones, so that a block's tables, once in the L1, serve up to 2048 rows.
inline void next_tile(const Weight& w, int first, int* rows) {
    const int left = w.out - first, many = left / kTilesLeft / 256 * 256;
    *rows = left < 128 ? 64 : left < 256 ? 128 : many < 256 ? 256 : many > kMaxTileRows ? kMaxTileRows : many;
}
inline int tile_count(const Weight& w) {
    int tiles = 0;
    for (int first = 0, rows; first < w.out; first += rows, tiles++) next_tile(w, first, &rows);
    return tiles;
}
inline void tile_rows(const Weight& w, int tile, int* first, int* rows) {
    *first = 0;
    for (next_tile(w, 0, rows); tile > 0; tile--) {
        *first += *rows;
        next_tile(w, *first, rows);
    }
}
// The layout's chunk that holds `row`.
inline void tile_of(const Weight& w, int row, int* first, int* rows) {
    const int big = w.out / 256 * 256, rest = w.out - big;
    *rows = row < big ? 256 : rest >= 128 && row < big + 128 ? 128 : 64;
    *first = row / *rows * *rows;
}
// Where the codes of a block of inputs begin, and there those of the chunk that begins at `row`: [units_in, rows].
inline size_t block_code(const Weight& w, const Shape& s, int block) {
    return (size_t)block * (size_t)s.block_units * (size_t)((w.out + 63) / 64 * 64);
}
inline size_t chunk_code(const Weight& w, const Shape& s, int block, int row) {
    return block_code(w, s, block) + (size_t)row * (size_t)units_in(s, block);
}

// What `derive` makes: codebooks as integers.
//   dot: int16 [K, 256 / 16, group / 2, 16, 2], entries side by side for dot_i16, the largest number 16383, entries behind
//        2^bits zero
//   panel: bytes [K, group, 2, 256], high and low halves of int16 numbers whose sum over the codebooks is at most 8191
// Longer codes have only the header.
struct Derived {
    float dot_scale;    // codebook number = dot_scale * integer
    float panel_scale;  // the same for panel
    float norm;         // the largest Euclidean norm of an entry of dot
    float unused[13];
    const int16_t* dot() const { return (const int16_t*)(this + 1); }
    int16_t* dot() { return (int16_t*)(this + 1); }
    static size_t plane(const Shape& s) { return (size_t)s.books * 256 * (size_t)s.group * 2; }
    const uint8_t* panel(const Shape& s) const { return (const uint8_t*)(this + 1) + plane(s); }
    uint8_t* panel(const Shape& s) { return (uint8_t*)(this + 1) + plane(s); }
};
static_assert(sizeof(Derived) == 64, "the tables behind it are aligned");

inline size_t derived_bytes(const Weight& w) {
    const Shape s(w);
    return sizeof(Derived) + (s.byte_codes() ? 2 * Derived::plane(s) : 0);
}

inline float largest_of(const uint16_t* f16, size_t n) {  // n is a multiple of 16
    uint32_t most = 0;  // magnitudes of halves order like their bits
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = f16[i] & 0x7FFFu;
        most = bits > most ? bits : most;
    }
    return f16_to_f32((uint16_t)most);
}

inline void derive(const Weight& w, void* memory) {
    const Shape s(w);
    Derived& d = *(Derived*)memory;
    const size_t numbers = (size_t)s.entries * (size_t)s.group;
    float most = 0, sum = 0;
    for (int k = 0; k < s.books; k++) {
        const float m = largest_of(w.codebooks + (size_t)k * numbers, numbers);
        most = m > most ? m : most;
        sum += m;
    }
    std::memset(memory, 0, derived_bytes(w));
    // Rounding adds up to a half per codebook, which the numerator leaves room for.
    const float panel_limit = 8191.0f - 0.5f * (float)s.books;
    d.dot_scale = most > 0 ? most / 16383.0f : 1.0f;
    d.panel_scale = sum > 0 ? sum / panel_limit : 1.0f;
    if (!s.byte_codes()) return;
    const float to_dot = 1.0f / d.dot_scale, to_panel = 1.0f / d.panel_scale;
    float norm = 0;
    for (int k = 0; k < s.books; k++) {
        int16_t* dot = d.dot() + (size_t)k * 256 * (size_t)s.group;
        uint8_t* panel = d.panel(s) + (size_t)k * 512 * (size_t)s.group;
        for (int e = 0; e < s.entries; e++) {
            float squares = 0;
            for (int c = 0; c < s.group; c += 16) {
                float number[16];
                int32_t integer[16], small[16];
                const int n = s.group < 16 ? s.group : 16;
                for (int i = 0; i < 16; i++) number[i] = 0;
                for (int i = 0; i < n; i++)
                    number[i] = f16_to_f32(w.codebooks[((size_t)k * (size_t)s.entries + (size_t)e) * (size_t)s.group + (size_t)(c + i)]);
                round_to_int(F::load(number) * F::set1(to_dot)).store(integer);
                round_to_int(F::load(number) * F::set1(to_panel)).store(small);
                for (int i = 0; i < n; i++) {
                    squares += (float)integer[i] * (float)integer[i];
                    dot[(size_t)((e / 16 * (s.group / 2) + (c + i) / 2) * 32 + e % 16 * 2 + i % 2)] = (int16_t)integer[i];
                    panel[(size_t)(c + i) * 512 + (size_t)e] = (uint8_t)(small[i] >> 8);
                    panel[(size_t)(c + i) * 512 + 256 + (size_t)e] = (uint8_t)small[i];
                }
            }
            norm = squares > norm ? squares : norm;
        }
    }
    d.norm = std::sqrt(norm);
}

// Tables of n activation rows: scales [n, blocks], then for each block, for each row, its units.
// The sum over a block's units of table entries, times the row's scale of the block, is the dot product (without row scale).
struct Tables {
    static size_t header(const Weight& w, int n) { return ((size_t)n * (size_t)blocks_of(w) * 4 + 63) / 64 * 64; }
    static float* scales(const Weight& w, void* tables, int row) { return (float*)tables + (size_t)row * (size_t)blocks_of(w); }
    static const float* scales(const Weight& w, const void* tables, int row) {
        return (const float*)tables + (size_t)row * (size_t)blocks_of(w);
    }
    // 512 bytes per unit
    static size_t offset(const Weight& w, const Shape& s, int n, int block, int row) {
        const size_t before = (size_t)block * (size_t)s.block_units * (size_t)n;
        return header(w, n) + (before + (size_t)row * (size_t)units_in(s, block)) * 512;
    }
};

constexpr int kPartBlocks = 2;  // blocks of one row that a thread takes: about half a microsecond for 2x8

inline size_t table_bytes(const Weight& w, int n) {
    const Shape s(w);
    if (!s.byte_codes()) return 0;
    return Tables::header(w, n) + (size_t)n * (size_t)s.units * 512;
}
inline int table_parts(const Weight& w, int n) {
    if (!Shape(w).byte_codes()) return 0;
    return n * ((blocks_of(w) + kPartBlocks - 1) / kPartBlocks);
}

// Makes the block's activations int16 such that no entry of a table reaches 2^30, and returns the table's scale.
// |x . c| <= |x| |c|, so the largest norm of a group decides; 2^17 is for rounding (of 16 numbers in x: 16 * 0.5 * 16383).
inline float quantize_block(const Derived& d, const Activations& a, int row, int block, int group, int16_t* q) {
    const float* x = a.f32 + (size_t)row * (size_t)a.stride + (size_t)block * kBlock;
    F most = F::zero();
    for (int i = 0; i < kBlock; i += 16) {
        const F v = F::load(x + i);
        most = max(most, max(v, F::zero() - v));
    }
    const float peak = largest(most);
    std::memset(q, 0, kBlock * sizeof(int16_t));
    if (!(peak > 0) || !(d.norm > 0)) return 0;
    // Scaled to at most 1 first, so that squares of huge and of tiny numbers stay in range.
    float unit[kBlock], squares = 0;
    const F by = F::set1(peak);
    for (int i = 0; i < kBlock; i += 16) (F::load(x + i) / by).store(unit + i);
    for (int g = 0; g < kBlock; g += group) {
        float sum = 0;
        for (int i = 0; i < group; i++) sum += unit[g + i] * unit[g + i];
        squares = sum > squares ? sum : squares;
    }
    const float bound = (1073741824.0f - 262144.0f) / (d.norm * std::sqrt(squares) * 1.0001f);
    const float factor = bound < 32767.0f ? bound : 32767.0f;
    for (int i = 0; i < kBlock; i += 16) {
        int32_t rounded[16];
        round_to_int(F::load(unit + i) * F::set1(factor)).store(rounded);
        for (int j = 0; j < 16; j++) q[i + j] = (int16_t)rounded[j];
    }
    return peak * (d.dot_scale * 65536.0f / factor);
}

}  // namespace aqlm
}  // namespace nutshell::NUTSHELL_LEVEL

#if defined(NUTSHELL_AVX512)
#include "aqlm_avx512.h"
#else
#include "aqlm_plain.h"
#endif
#include "aqlm_gather.h"
#include "aqlm_decode.h"
