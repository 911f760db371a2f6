// Which cells a row of attention sees.
#pragma once

namespace nutshell::NUTSHELL_LEVEL {

// Bits of the provisional cells at .. at + 15 (at >= 0) that row `row` sees, the window not yet considered.
inline uint32_t provisional_bits(const AttentionArgs& args, int row, int at) {
    int last = args.chain ? row + 1 : args.n;
    if (at >= last) return 0;
    uint32_t bits = last - at < 16 ? (1u << (last - at)) - 1 : 0xFFFFu;
    if (args.chain) return bits;
    const uint64_t* mask = args.mask + (ptrdiff_t)row * args.mask_words;
    int word = at / 64, offset = at % 64;
    uint64_t found = mask[word] >> offset;
    if (offset > 48 && word + 1 < args.mask_words) found |= mask[word + 1] << (64 - offset);
    return (uint32_t)found & bits;
}

// Bit j: row `row` sees cell + j.
inline uint32_t seen(const AttentionArgs& args, int row, int cell) {
    int committed = args.committed - cell;  // committed ones of the 16
    uint32_t bits = committed >= 16 ? 0xFFFFu : committed > 0 ? (1u << committed) - 1 : 0;
    int oldest = args.window > 0 ? args.positions[row] - args.window + 1 : 0;
    if (oldest > cell) bits = oldest - cell >= 16 ? 0 : bits & (0xFFFFu << (oldest - cell));
    if (committed >= 16) return bits;
    int first = committed < 0 ? -committed : 0;  // provisional cell of the lowest new bit
    uint32_t fresh = provisional_bits(args, row, first);
    if (args.window > 0)
        for (int j = 0; j < 16; j++)
            if (fresh >> j & 1 && args.positions[first + j] < oldest) fresh &= ~(1u << j);
    return (bits | fresh << (committed > 0 ? committed : 0)) & 0xFFFFu;
}

// One past the last cell that the row sees (the window not considered).
inline int seen_end(const AttentionArgs& args, int row) {
    if (args.chain) return args.committed + row + 1;
    for (int at = (args.n - 1) & ~15; at >= 0; at -= 16)
        if (uint32_t bits = provisional_bits(args, row, at)) {
            int end = args.committed + at;
            for (; bits; bits >>= 1) end++;
            return end;
        }
    return args.committed;
}

// No cell before this one is seen by the row.
inline int seen_begin(const AttentionArgs& args, int row) {
    int oldest = args.window > 0 ? args.positions[row] - args.window + 1 : 0;
    return oldest < 0 ? 0 : oldest < args.committed ? oldest : args.committed;
}

}  // namespace nutshell::NUTSHELL_LEVEL
