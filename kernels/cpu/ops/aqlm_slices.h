// AQLM decode by slices of the inputs: a thread makes a block's tables right before it looks them up, in its own L1, for all
// rows of a part. Every table is made once, no thread waits for another's, and codes are fetched meanwhile. Included by
// aqlm_avx512.h.
#pragma once

namespace nutshell::NUTSHELL_LEVEL {
namespace aqlm {

constexpr int kPartRows = 9216;            // most rows of a unit: 36 KB of sums, which each block adds to
constexpr double kSliceBytes = 256 << 10;  // codes of a unit, about 8 us of reading
constexpr int kUnitsWanted = 6;            // for a few threads, even if units are then smaller

// Codes are fetched this far ahead of their use, in the order of their use, into the L1. 7 KB: 7 % slower; 8 KB falls
// on the lines of the L1 that are read now: 15 % slower.
constexpr ptrdiff_t kLead = 11 << 10;

// While tables are made 8 KB more are fetched than are used. That lead is kept, and given up along the rows of the block.
constexpr ptrdiff_t kMore = 8 << 10;
inline ptrdiff_t lead_at(bool first, int row, int rows) {
    return first ? kLead : kLead + kMore * (rows - row) / rows / 64 * 64;
}

// How a weight is cut; the same for any number of threads. A unit is a slice (some blocks of inputs) of a part (rows).
struct Slices {
    int blocks, parts, part_rows, slices, slice_blocks;
    explicit Slices(const Weight& w) {
        blocks = blocks_of(w);
        const int rows = (w.out + 63) / 64 * 64;
        parts = (rows + kPartRows - 1) / kPartRows;
        part_rows = ((rows + parts - 1) / parts + 255) / 256 * 256;
        parts = (rows + part_rows - 1) / part_rows;
        if (part_rows > rows) part_rows = rows;
        const double bytes = (double)part_rows * w.in_padded / w.group_size * w.num_codebooks;
        int wanted = (int)(bytes / kSliceBytes);
        if (wanted * parts < kUnitsWanted) wanted = (kUnitsWanted + parts - 1) / parts;
        wanted = wanted < 1 ? 1 : wanted > 16 ? 16 : wanted;
        const int fewest = part_rows < 4096 ? 2 : 3;  // each slice's sums are cleared, written and read: that is shared
        slice_blocks = (blocks + wanted - 1) / wanted;
        if (slice_blocks < fewest) slice_blocks = fewest;
        slices = (blocks + slice_blocks - 1) / slice_blocks;
    }
};

inline int slice_units(const Weight& w) {
    if (!Shape(w).byte_codes()) return 0;
    const Slices p(w);
    return p.parts * p.slices;
}
inline size_t slice_floats(const Weight& w, int n) { return (size_t)n * (size_t)Slices(w).part_rows; }

inline const void* slice_data(const Weight& w, int unit) {
    const Slices p(w);
    return (const uint8_t*)w.data + chunk_code(w, Shape(w), unit % p.slices * p.slice_blocks, unit / p.slices * p.part_rows);
}

// sums [n, part_rows], in the order that `unshuffle` undoes, without row scales.
inline void slice_sums(const Weight& w, const Activations& a, int unit, const Neighbours& by, float* sums) {
    const Shape s(w);
    const Slices p(w);
    const Derived& d = *(const Derived*)w.derived;
    const int begin = unit / p.slices * p.part_rows, all = (w.out + 63) / 64 * 64;
    const int rows = all - begin < p.part_rows ? all - begin : p.part_rows;
    const int first = unit % p.slices * p.slice_blocks, last = first + p.slice_blocks < p.blocks ? first + p.slice_blocks : p.blocks;
    alignas(64) uint8_t tables[16 * 16 * 512];  // 16 KB for two codebooks
    std::memset(sums, 0, (size_t)a.n * (size_t)p.part_rows * sizeof(float));
    // the chunk of the layout that begins at row i of the part
    const auto width_at = [&](int i) { const int left = w.out - begin - i; return left >= 256 ? 256 : left >= 128 ? 128 : 64; };
    const uint8_t* data = (const uint8_t*)w.data;
    for (int b = first; b < last; b++) {
        const int units = units_in(s, b);
        const uint8_t *codes = data + chunk_code(w, s, b, begin), *end = codes + (ptrdiff_t)units * rows;
        const bool cold = b == first && !by.before;
        const uint8_t* following = b + 1 < last ? data + chunk_code(w, s, b + 1, begin) : (const uint8_t*)by.behind;
        // what row r fetches of the next block along its 256 rows from i on
        const auto later_at = [&](int i, int r) {
            const int lines = (8 + a.n - 1) / a.n;
            const ptrdiff_t before = ((ptrdiff_t)(r - 1) * rows + i) * units / 8 * lines;
            return Ahead{0, 0, 0, following + before / 64 * 64, lines};
        };
        for (int r = 0; r < a.n; r++) {
            // Memory is kept busy while tables are made. Later rows find the block's codes in the L2, and bring most of the
            // next block there: three rows of gate and up took 15.4 ms before and take 13.5, one thread. (All rows sharing
            // the fetching, into the L1, was 15 % slower.)
            const uint8_t* next = r ? nullptr : cold ? codes : codes + kLead;
            const float scale = build_block(w, d, a, r, b, tables, next);
            float* y = sums + (size_t)r * (size_t)p.part_rows;
            for (int i = 0, width; i < rows; i += width) {
                width = width_at(i);
                const uint8_t* c = codes + (ptrdiff_t)i * units;
                const ptrdiff_t lead = lead_at(cold, i, rows), left = end - c - lead;  // that are fetched in this run
                const ptrdiff_t late = following ? lead + ((intptr_t)following - (intptr_t)end) : 0;
                const Ahead ahead{lead, late, left <= 0 ? 0 : left >= (ptrdiff_t)units * width ? units : (int)(left / width)};
                if (width == 64) strip<1, true>(c, 64, tables, units, scale, y + i, ahead);
                else if (width == 128) strip<2, true>(c, 128, tables, units, scale, y + i, ahead);
                else if (r && following) strip<4, false, true>(c, 256, tables, units, scale, y + i, later_at(i, r));
                else if (r) strip<4, false>(c, 256, tables, units, scale, y + i, ahead);
                else strip<4, true>(c, 256, tables, units, scale, y + i, ahead);
            }
        }
    }
}

// Rows first .. first + rows (multiples of 64 of one part) of y, from the sums of all units [units, n, part_rows].
inline void join_slices(const Weight& w, int n, const float* sums, int first, int rows, float* y, int ldy) {
    const Slices p(w);
    const size_t step = slice_floats(w, n);
    for (int r = 0; r < n; r++)
        for (int i = 0; i < rows; i += 64) {
            const int row = first + i, part = row / p.part_rows;
            const float* from = sums + (size_t)(part * p.slices) * step + (size_t)r * (size_t)p.part_rows + (size_t)(row - part * p.part_rows);
            F t[4] = {F::load(from), F::load(from + 16), F::load(from + 32), F::load(from + 48)};
            for (int k = 1; k < p.slices; k++) {
                from += step;
                for (int j = 0; j < 4; j++) t[j] = t[j] + F::load(from + 16 * j);
            }
            alignas(64) float acc[64];
            for (int j = 0; j < 4; j++) t[j].store(acc + 16 * j);
            unshuffle(acc, w.scales + row, y + (size_t)r * (size_t)ldy + i);
        }
}

}  // namespace aqlm
}  // namespace nutshell::NUTSHELL_LEVEL
