// AQLM look-ups with AVX-512 VBMI: a table of 256 bytes lies in four registers, and 64 codes are looked up at once by two
// two-register permutes and a blend. Included by aqlm.h.
#pragma once
#include <immintrin.h>

namespace nutshell::NUTSHELL_LEVEL {
namespace aqlm {

// A table entry is 15 bits: t = x . c / 2^16 + 2^14 in 0..2^15-1, kept as two planes, `high` (7 bits) and `low` (8 bits).
// Look-ups are added in pairs of units before anything else: the high bytes' sum fits a byte, the low bytes are averaged.
// The average rounds up by a quarter on average; the odd units' tables are therefore rounded down, which is half a step of
// t too little, and that is what the pair's average adds. A zero activation gives exactly zero in both.
constexpr int32_t kEven = 0x40008000, kOdd = 0x40000000;

inline __m512i look_up(const __m512i* t, __m512i code, __mmask64 upper) {
    return _mm512_mask_blend_epi8(upper, _mm512_permutex2var_epi8(t[0], code, t[1]),
                                  _mm512_permutex2var_epi8(t[2], code, t[3]));
}

// Fetches a line into the L1, here and not where the compiler would rather have it: eight in a row get half as much from
// the memory as one every few cycles (measured: 16 cycles per line against 8).
inline void fetch(const void* p) {
#if defined(__GNUC__)
    asm volatile("prefetcht0 %0" ::"m"(*(const char*)p));
#else
    _mm_prefetch((const char*)p, _MM_HINT_T0);
#endif
}

// The same into the L2.
inline void fetch_l2(const void* p) {
#if defined(__GNUC__)
    asm volatile("prefetcht1 %0" ::"m"(*(const char*)p));
#else
    _mm_prefetch((const char*)p, _MM_HINT_T1);
#endif
}

// Which codes are fetched meanwhile.
struct Ahead {
    ptrdiff_t codes;  // this far behind those of the same step,
    ptrdiff_t late;   // or this far from step `split` on
    int split;
    const uint8_t* later = nullptr;  // `lines` from here for every 8 lines of codes, into the L2
    int lines = 0;
};

#if defined(__GNUC__) && !defined(__clang__)
// One plane of 64 rows for two units: as instructions, because GCC 12 copies and spills the sums of the intrinsics (4.2
// cycles per line of codes from the L1, 3.9 like this). The masks of the codes' top bits are kept for the second plane
// where there are registers for them.
#define NUTSHELL_CODES "vmovdqu64 %[c], %[a]\n\tvmovdqu64 %[d], %[b]\n\t"
#define NUTSHELL_TOP(x, m) "vpmovb2m %[" x "], %[" m "]\n\t"
#define NUTSHELL_LOOK(x, y, m, t)                                                           \
    "vmovdqa64 %[" x "], %[" y "]\n\tvpermi2b %[" t "3], %[" t "2], %[" y "]\n\tvpermi2b %[" t "1], %[" t "0], %[" x "]\n\t" \
    "vmovdqu8 %[" y "], %[" x "]%{%[" m "]%}\n\t"
#define NUTSHELL_SUM(op) op " %[b], %[a], %[a]\n\tvpaddw %[a], %[sum], %[sum]\n\tvpsrlw $8, %[a], %[a]\n\tvpaddw %[a], %[odd], %[odd]"
#define NUTSHELL_TABLES                                                                                         \
    [t0] "v"(t[0]), [t1] "v"(t[1]), [t2] "v"(t[2]), [t3] "v"(t[3]), [u0] "v"(t[4]), [u1] "v"(t[5]), [u2] "v"(t[6]), [u3] "v"(t[7]), \
        [c] "m"(*(const __m512i*)c), [d] "m"(*(const __m512i*)d)
#define NUTSHELL_PLANE(op)                                                                                                   \
    __m512i a, b, x;                                                                                                         \
    asm volatile(NUTSHELL_CODES NUTSHELL_TOP("a", "ma") NUTSHELL_TOP("b", "mb") NUTSHELL_LOOK("a", "x", "ma", "t")           \
                 NUTSHELL_LOOK("b", "x", "mb", "u") NUTSHELL_SUM(op)                                                         \
                 : [sum] "+v"(sum), [odd] "+v"(odd), [a] "=&v"(a), [b] "=&v"(b), [x] "=&v"(x), [ma] "=&Yk"(ma), [mb] "=&Yk"(mb) \
                 : NUTSHELL_TABLES)
inline void high_plane(const __m512i* t, const uint8_t* c, const uint8_t* d, __m512i& sum, __m512i& odd, __mmask64& ma, __mmask64& mb) {
    NUTSHELL_PLANE("vpaddb");
}
inline void low_plane(const __m512i* t, const uint8_t* c, const uint8_t* d, __m512i& sum, __m512i& odd, bool keep, __mmask64& ma, __mmask64& mb) {
    if (!keep) {
        NUTSHELL_PLANE("vpavgb");
        return;
    }
    __m512i a, b, x;
    asm volatile(NUTSHELL_CODES NUTSHELL_LOOK("a", "x", "ma", "t") NUTSHELL_LOOK("b", "x", "mb", "u") NUTSHELL_SUM("vpavgb")
                 : [sum] "+v"(sum), [odd] "+v"(odd), [a] "=&v"(a), [b] "=&v"(b), [x] "=&v"(x)
                 : NUTSHELL_TABLES, [ma] "Yk"(ma), [mb] "Yk"(mb));
}
#else
inline void high_plane(const __m512i* t, const uint8_t* c, const uint8_t* d, __m512i& sum, __m512i& odd, __mmask64& ma, __mmask64& mb) {
    const __m512i a = _mm512_loadu_si512(c), b = _mm512_loadu_si512(d);
    ma = _mm512_movepi8_mask(a);
    mb = _mm512_movepi8_mask(b);
    const __m512i h = _mm512_add_epi8(look_up(t, a, ma), look_up(t + 4, b, mb));
    sum = _mm512_add_epi16(sum, h);
    odd = _mm512_add_epi16(odd, _mm512_srli_epi16(h, 8));
}
inline void low_plane(const __m512i* t, const uint8_t* c, const uint8_t* d, __m512i& sum, __m512i& odd, bool, __mmask64& ma, __mmask64& mb) {
    const __m512i l = _mm512_avg_epu8(look_up(t, _mm512_loadu_si512(c), ma), look_up(t + 4, _mm512_loadu_si512(d), mb));
    sum = _mm512_add_epi16(sum, l);
    odd = _mm512_add_epi16(odd, _mm512_srli_epi16(l, 8));
}
#endif
constexpr int kMasksKept = 3;  // pairs, of the 7 mask registers

// 64 * V rows times the units of one block, added to acc [64 V] in the order that `unshuffle` undoes.
template <int V, bool Codes, bool Later = false>
inline void strip(const uint8_t* codes, int rows, const uint8_t* tables, int units, float scale, float* acc, const Ahead& ahead) {
    __m512i high[V], high_odd[V], low[V], low_odd[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) high[v] = high_odd[v] = low[v] = low_odd[v] = _mm512_setzero_si512();
    const uint8_t *c = codes, *later = ahead.later;
    for (int u = 0; u < units; u += 2, c += 2 * (size_t)rows) {
        const __m512i* t = (const __m512i*)(tables + (size_t)u * 512);
        const uint8_t* next = c + (u < ahead.split ? ahead.codes : ahead.late);
        if (Later)
            for (int k = 0; k < ahead.lines; k++, later += 64) fetch_l2(later);
        if (V == 4) fetch(acc + 8 * u);  // the sums are needed at the end
        // One plane after the other: 8 registers of tables and 16 of sums stay in place, and the codes are read twice from
        // the L1. All 16 tables at once would be read again for every 64 rows: 9 loads for 64 codes, now 4.
        __mmask64 ma[V], mb[V];
        __m512i p[8] = {t[0], t[1], t[2], t[3], t[8], t[9], t[10], t[11]};
        for (int i = 0; i < 8; i++) asm("" : "+v"(p[i]));
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) {
            if (Codes) fetch(next + 128 * v);
            high_plane(p, c + 64 * v, c + rows + 64 * v, high[v], high_odd[v], ma[v], mb[v]);
        }
        __m512i q[8] = {t[4], t[5], t[6], t[7], t[12], t[13], t[14], t[15]};
        for (int i = 0; i < 8; i++) asm("" : "+v"(q[i]));
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) {
            if (Codes) fetch(next + 128 * v + 64);
            low_plane(q, c + 64 * v, c + rows + 64 * v, low[v], low_odd[v], v < kMasksKept, ma[v], mb[v]);
        }
    }
    const __m512i weights = _mm512_set1_epi32(256 << 16 | 2), offset = _mm512_set1_epi32(units << 14);
    const __m512 s = _mm512_set1_ps(scale);
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) {
        const __m512i high_even = _mm512_sub_epi16(high[v], _mm512_slli_epi16(high_odd[v], 8));
        const __m512i low_even = _mm512_sub_epi16(low[v], _mm512_slli_epi16(low_odd[v], 8));
        const __m512i pair[4] = {
            _mm512_unpacklo_epi16(low_even, high_even), _mm512_unpackhi_epi16(low_even, high_even),
            _mm512_unpacklo_epi16(low_odd[v], high_odd[v]), _mm512_unpackhi_epi16(low_odd[v], high_odd[v])};
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            float* y = acc + 64 * v + 16 * i;
            const __m512 t = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_madd_epi16(pair[i], weights), offset));
            _mm512_store_ps(y, _mm512_fmadd_ps(t, s, _mm512_load_ps(y)));
        }
    }
}

// acc: four registers with rows 16 L + 2 i, 16 L + 8 + 2 i, 16 L + 1 + 2 i, 16 L + 9 + 2 i in number i of 128-bit lane L.
inline void unshuffle(const float* acc, const uint16_t* row_scales, float* y) {
    const __m512 a = _mm512_load_ps(acc), b = _mm512_load_ps(acc + 16), c = _mm512_load_ps(acc + 32), d = _mm512_load_ps(acc + 48);
    const __m512 r0 = _mm512_unpacklo_ps(a, c), r1 = _mm512_unpackhi_ps(a, c);  // lane L: rows 16 L + 0..3, + 4..7
    const __m512 r2 = _mm512_unpacklo_ps(b, d), r3 = _mm512_unpackhi_ps(b, d);
    const __m512 p = _mm512_shuffle_f32x4(r0, r1, 0x44), q = _mm512_shuffle_f32x4(r2, r3, 0x44);  // lanes 0, 1 of both
    const __m512 m = _mm512_shuffle_f32x4(r0, r1, 0xEE), n = _mm512_shuffle_f32x4(r2, r3, 0xEE);
    const __m512 rows[4] = {_mm512_shuffle_f32x4(p, q, 0x88), _mm512_shuffle_f32x4(p, q, 0xDD),
                            _mm512_shuffle_f32x4(m, n, 0x88), _mm512_shuffle_f32x4(m, n, 0xDD)};
    for (int i = 0; i < 4; i++) (F{rows[i]} * F::load_f16(row_scales + 16 * i)).store(y + 16 * i);
}

// Codes are fetched this far ahead of their use, in the order of their use: 340 ns of a loaded memory at 20 GB/s. Not
// 8 KB, a block of two codebooks, because that falls on the same lines of the L1 as what is read now.
constexpr ptrdiff_t kAhead = 7168;

// One chunk of the layout after the other for each block, so that the block's tables (16 KB for two codebooks) are read from the L1
// by all of them.
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
        for (int r = 0; r < a.n; r++) {
            const uint8_t* t = (const uint8_t*)tables + Tables::offset(w, s, a.n, b, r);
            const float scale = Tables::scales(w, tables, r)[b];
            for (int i = 0; i < rows; i += width) {
                const uint8_t* c = codes + (size_t)i * (size_t)units;
                float* sum = acc + (size_t)r * (size_t)rows + i;
                const Ahead ahead{kAhead, kAhead, 0};
                if (width == 64) strip<1, true>(c, 64, t, units, scale, sum, ahead);
                else if (width == 128) strip<2, true>(c, 128, t, units, scale, sum, ahead);
                else if (r) strip<4, false>(c, 256, t, units, scale, sum, ahead);
                else strip<4, true>(c, 256, t, units, scale, sum, ahead);
            }
        }
    }
    for (int r = 0; r < a.n; r++)
        for (int i = 0; i < rows; i += 64)
            unshuffle(acc + (size_t)r * (size_t)rows + i, w.scales + first + i, y + (size_t)r * (size_t)ldy + i);
}

// 256 entries of one codebook for each of `groups` groups of inputs; tables of successive groups are `step` bytes apart.
template <int G, bool Fetch>
inline void build_book(const int16_t* dot, const int16_t* q, int groups, const int32_t* start, uint8_t* out, size_t step,
                       const uint8_t* next) {
    alignas(64) static const uint8_t pick[64] = {
        3,  7,  11, 15, 19, 23, 27, 31, 35, 39, 43, 47, 51, 55, 59, 63, 67, 71, 75, 79, 83, 87, 91, 95, 99, 103, 107, 111, 115, 119, 123, 127,
        2,  6,  10, 14, 18, 22, 26, 30, 34, 38, 42, 46, 50, 54, 58, 62, 66, 70, 74, 78, 82, 86, 90, 94, 98, 102, 106, 110, 114, 118, 122, 126};
    constexpr int P = G / 2;               // pairs of inputs
    constexpr int R = G == 8 ? 4 : 2;      // registers of 16 entries at once: 16 registers hold their numbers
    const __m512i planes = _mm512_load_si512(pick);
    for (int e = 0; e < 256; e += 16 * R) {
        __m512i c[R * P];
        for (int i = 0; i < R * P; i++) c[i] = _mm512_loadu_si512(dot + (size_t)e * G + 32 * i);
        for (int g = 0; g < groups; g++) {
            // 64 lines of codes for a codebook's 16 groups of 8
            if (Fetch) {
                fetch(next);
                next += 64;
            }
            __m512i t[R];
            for (int i = 0; i < R; i++) t[i] = _mm512_set1_epi32(start[g]);
            for (int p = 0; p < P; p++) {
                int32_t two;
                std::memcpy(&two, q + g * G + 2 * p, 4);
                const __m512i x = _mm512_set1_epi32(two);
                for (int i = 0; i < R; i++) t[i] = _mm512_dpwssd_epi32(t[i], c[i * P + p], x);
            }
            uint8_t* o = out + (size_t)g * step + e;
            for (int i = 0; i < R; i += 2) {
                const __m512i bytes = _mm512_permutex2var_epi8(t[i], planes, t[i + 1]);
                _mm256_storeu_si256((__m256i*)(o + 16 * i), _mm512_castsi512_si256(bytes));
                _mm256_storeu_si256((__m256i*)(o + 256 + 16 * i), _mm512_extracti64x4_epi64(bytes, 1));
            }
        }
    }
}

// Tables of one block and row; returns their scale. Fetches the codes at `now` and `next` meanwhile (null: none).
inline float build_block(const Weight& w, const Derived& d, const Activations& a, int row, int block, uint8_t* out,
                         const uint8_t* next) {
    const Shape s(w);
    alignas(64) int16_t q[kBlock];
    const float scale = quantize_block(d, a, row, block, s.group, q);
    const int groups = units_in(s, block) / s.books;
    for (int k = 0; k < s.books; k++) {
        int32_t start[kBlock / 8];
        for (int g = 0; g < groups; g++) start[g] = (g * s.books + k) % 2 ? kOdd : kEven;
        const int16_t* dot = d.dot() + (size_t)k * 256 * (size_t)s.group;
        uint8_t* o = out + (size_t)k * 512;
        const size_t step = (size_t)s.books * 512;
        if (s.group == 8 && next) build_book<8, true>(dot, q, groups, start, o, step, next);
        else if (s.group == 8) build_book<8, false>(dot, q, groups, start, o, step, next);
        else build_book<16, false>(dot, q, groups, start, o, step, next);
        if (next) next += groups * 256;
    }
    return scale;
}

inline void build_tables(const Weight& w, const Activations& a, int part, void* tables) {
    const Shape s(w);
    const int blocks = blocks_of(w), parts = (blocks + kPartBlocks - 1) / kPartBlocks, row = part / parts;
    for (int b = part % parts * kPartBlocks; b < blocks && b < (part % parts + 1) * kPartBlocks; b++)
        Tables::scales(w, tables, row)[b] = build_block(w, *(const Derived*)w.derived, a, row, b,
                                                        (uint8_t*)tables + Tables::offset(w, s, a.n, b, row), nullptr);
}

// 64 rows from first_row: the planes of two inputs are looked up, joined to int16 and summed over the codebooks.
inline void panel_tables(const Weight& w, int first_row, int k0, int k, int16_t* panel) {
    // Codes are put in the order that the three unpacks below undo: byte 16 L + 4 j + i is row 16 j + 4 L + i.
    alignas(64) uint8_t order[64];
    for (int i = 0; i < 64; i++) order[i] = (uint8_t)(i / 4 % 4 * 16 + i / 16 * 4 + i % 4);
    const __m512i shuffle = _mm512_load_si512(order);
    const Shape s(w);
    int first, rows;
    tile_of(w, first_row, &first, &rows);
    const uint8_t* codes = (const uint8_t*)w.data + (size_t)(first_row - first);
    const uint8_t* planes = ((const Derived*)w.derived)->panel(s);
    const size_t sub = (size_t)k / 2 * 32;
    // Pairs of inputs outside: the eight registers of tables serve all groups of the call.
    for (int p = 0; p < s.group / 2; p++)
        for (int book = 0; book < s.books; book++) {
            __m512i t[16];
            for (int i = 0; i < 16; i++)
                t[i] = _mm512_loadu_si512(planes + ((size_t)book * (size_t)s.group + 2 * (size_t)p) * 512 + 64 * (size_t)i);
            for (int g = 0; g < k / s.group; g++) {
                const int input = k0 + g * s.group, unit = input % kBlock / s.group * s.books + book;
                const __m512i raw = _mm512_loadu_si512(codes + chunk_code(w, s, input / kBlock, first) + (size_t)unit * (size_t)rows);
                const __m512i code = _mm512_permutexvar_epi8(shuffle, raw);
                const __mmask64 m = _mm512_movepi8_mask(code);
                const __m512i h0 = look_up(t, code, m), l0 = look_up(t + 4, code, m);
                const __m512i h1 = look_up(t + 8, code, m), l1 = look_up(t + 12, code, m);
                const __m512i a0 = _mm512_unpacklo_epi8(l0, h0), a1 = _mm512_unpackhi_epi8(l0, h0);
                const __m512i b0 = _mm512_unpacklo_epi8(l1, h1), b1 = _mm512_unpackhi_epi8(l1, h1);
                const __m512i out[4] = {_mm512_unpacklo_epi16(a0, b0), _mm512_unpackhi_epi16(a0, b0),
                                        _mm512_unpacklo_epi16(a1, b1), _mm512_unpackhi_epi16(a1, b1)};
                int16_t* to = panel + (size_t)(g * s.group / 2 + p) * 32;
                for (int j = 0; j < 4; j++) {
                    int16_t* at = to + (size_t)j * sub;
                    _mm512_storeu_si512(at, book ? _mm512_add_epi16(out[j], _mm512_loadu_si512(at)) : out[j]);
                }
            }
        }
}

}  // namespace aqlm
}  // namespace nutshell::NUTSHELL_LEVEL

#include "aqlm_slices.h"
