// Codes of a block of groups, with feedback between them: the hot spot of AQLM with calibration. search_block of
// reference/search.py says what is computed.
//
// Codewords are compared as integers: the residual and the codewords, both in the group's coordinates, as 16-bit numbers,
// half squared distances as 32-bit ones whose low bits say which candidate it is. That takes half the instructions of
// floats, and sixteen candidates (the best of each lane) are sorted by their ranks, without a branch. Everything that is
// handed on (residuals, feedback) is float.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace nutshell::NUTSHELL_LEVEL {
namespace search {

constexpr int kTogether = 8;          // rows whose searches are interleaved: nothing of one waits for another
constexpr float kLongest = 4096.0f;   // the longest codeword as integers: 16384 clipped residuals, 17 % more error with 4 poor codebooks
constexpr float kLimit = 32700.0f;    // the longest residual: eight codewords; a longer one keeps its direction
constexpr int kChunk = 15, kBeam = 7 << 4, kLane = 15 << 7, kWho = kChunk | kBeam | kLane;

// One group's codebooks, for all rows.
struct Tables {
    float* seen;      // [K, entries, G] codewords times forward
    int16_t* small;   // [K, G / 2, entries, 2] the same as integers
    int32_t* halves;  // [K, entries] half their squared lengths
    float* factors;   // [K] integers per unit
};

inline size_t entry_bytes(int group) { return (size_t)group * 6 + 4; }

inline Tables tables(const SearchArgs& a, int j) {
    const size_t all = (size_t)a.num_codebooks * a.entries;
    char* at = (char*)a.scratch + all * a.group * sizeof(float) + (size_t)j * (all * entry_bytes(a.group) + 64);
    Tables t;
    t.seen = (float*)at;
    t.small = (int16_t*)(at += all * a.group * sizeof(float));
    t.halves = (int32_t*)(at += all * a.group * sizeof(int16_t));
    t.factors = (float*)(at + all * sizeof(int32_t));
    return t;
}

template <int G> void prepare(const SearchArgs& a, int j) {
    const Tables t = tables(a, j);
    const float* forward = a.forward + (size_t)j * G * G;
    for (int k = 0; k < a.num_codebooks; k++) {
        const float* book = a.books + (size_t)k * G * a.entries;
        float* seen = t.seen + (size_t)k * G * a.entries;
        float longest = 0;
        for (int z = 0; z < a.entries; z += 16) {
            F square = F::zero();
            for (int to = 0; to < G; to++) {
                F sum = F::zero();
                for (int from = 0; from < G; from++)
                    sum = fma(F::load(book + (size_t)from * a.entries + z), F::set1(forward[from * G + to]), sum);
                square = fma(sum, sum, square);
                float lanes[16];
                sum.store(lanes);
                for (int lane = 0; lane < 16; lane++) seen[(z + lane) * G + to] = lanes[lane];
            }
            longest = std::max(longest, largest(square));
        }
        const float factor = longest > 1e-30f ? kLongest / std::sqrt(longest) : 1.0f;
        t.factors[k] = factor;
        for (int z = 0; z < a.entries; z++) {
            int32_t square = 0;
            for (int i = 0; i < G; i++) {
                const int32_t q = (int32_t)std::nearbyintf(seen[z * G + i] * factor);
                square += q * q;
                t.small[(((size_t)k * (G / 2) + i / 2) * a.entries + z) * 2 + i % 2] = (int16_t)q;
            }
            t.halves[(size_t)k * a.entries + z] = square / 2;
        }
    }
    if (j == 0)  // codewords as they are, one after the other
        for (int k = 0; k < a.num_codebooks; k++)
            for (int z = 0; z < a.entries; z++)
                for (int i = 0; i < G; i++)
                    ((float*)a.scratch)[((size_t)k * a.entries + z) * G + i] = a.books[((size_t)k * G + i) * a.entries + z];
}

// A residual as the scan reads it.
template <int G> struct Probe {
    int32_t pairs[G / 2];  // of minus the residual
    int32_t half;          // half its squared length, without the bits of `kWho`
};

template <int G> Probe<G> probe(const float* rest, float factor) {
    const F r = F::load_first(rest, G);
    const float square = sum(r * r);
    if (square * factor * factor > kLimit * kLimit) factor = kLimit / std::sqrt(square);
    int32_t q[16];
    round_to_int(r * F::set1(-factor)).store(q);
    Probe<G> made;
    for (int p = 0; p < G / 2; p++) made.pairs[p] = (q[2 * p] & 0xffff) | (int32_t)((uint32_t)q[2 * p + 1] << 16);
    made.half = (int32_t)(0.5f * square * factor * factor) & ~kWho;
    return made;
}

// For each lane, the least of its codewords' half squared distances to N residuals, with who it is in the low bits.
template <int G, int N> void scan(const Probe<G>* probes, int beam, const int16_t* small, const int32_t* halves, int entries, I* best) {
    I r[N][G / 2];
    for (int b = 0; b < N; b++) {
        for (int p = 0; p < G / 2; p++) r[b][p] = I::set1(probes[b].pairs[p]);
        best[b] = I::set1(0x7fffffff);
    }
    const I chunk_bits = I::set1(kChunk);
    for (int z = 0; z < entries; z += 16) {
        const I half = I::load(halves + z), number = I::set1(z / 16);
        I score[N];
        for (int b = 0; b < N; b++) score[b] = half;
        for (int p = 0; p < G / 2; p++) {
            const I codewords = I::load(small + ((size_t)p * entries + z) * 2);
            for (int b = 0; b < N; b++) score[b] = dot_i16(score[b], codewords, r[b][p]);
        }
        for (int b = 0; b < N; b++) best[b] = min(best[b], select(chunk_bits, number, score[b]));
    }
    alignas(64) static const int32_t lanes[16] = {0 << 7, 1 << 7, 2 << 7, 3 << 7, 4 << 7, 5 << 7, 6 << 7, 7 << 7,
                                                  8 << 7, 9 << 7, 10 << 7, 11 << 7, 12 << 7, 13 << 7, 14 << 7, 15 << 7};
    for (int b = 0; b < N; b++)
        best[b] = select(I::set1(kBeam | kLane), I::load(lanes) | I::set1((beam + b) << 4), best[b]) + I::set1(probes[b].half);
}

inline int code_of(int32_t key) { return ((key & kChunk) << 4) + ((key & kLane) >> 7); }
inline int beam_of(int32_t key) { return (key & kBeam) >> 4; }

// How many of `count` numbers are less than each of 16.
inline I ranks(I keys, const int32_t* all, int count) {
    I less = I::zero();
    for (int i = 0; i < count; i++) less = less - (I::set1(all[i]) - keys).template sar<31>();
    return less;
}

// The sorted candidates: of each lane the best of all beams, and the second best where there are several.
inline int sorted(const I* minima, int beams, int32_t* keys) {
    int32_t all[32], at[32];
    I first = minima[0];
    if (beams == 1) {
        first.store(all);
        ranks(first, all, 16).store(at);
        for (int i = 0; i < 16; i++) keys[at[i]] = all[i];
        return 16;
    }
    I second = max(minima[0], minima[1]);
    first = min(first, minima[1]);
    for (int b = 2; b < beams; b++) {
        second = min(second, max(first, minima[b]));
        first = min(first, minima[b]);
    }
    first.store(all);
    second.store(all + 16);
    ranks(first, all, 32).store(at);
    ranks(second, all, 32).store(at + 16);
    for (int i = 0; i < 32; i++) keys[at[i]] = all[i];
    return 32;
}

template <int G> struct Row {
    float rest[2][kMaxBeam][G];
    uint8_t codes[2][kMaxBeam][8];
    I minima[kMaxBeam];
    int count;
};

template <int G> float squares(const float* x) {
    const F v = F::load_first(x, G);
    return sum(v * v);
}

// Codes of n <= kTogether targets [n, G]; targets become what is left.
template <int G> void codes_of(const SearchArgs& a, const Tables& t, int n, float* targets, uint8_t (*codes)[8]) {
    Row<G> rows[kTogether];
    const int last = a.num_codebooks - 1;
    for (int v = 0; v < n; v++) {
        std::memcpy(rows[v].rest[0][0], targets + v * G, sizeof(float) * G);
        rows[v].count = 1;
    }
    for (int k = 0; k <= last; k++) {
        const int16_t* small = t.small + (size_t)k * G * a.entries;
        const int32_t* halves = t.halves + (size_t)k * a.entries;
        const float* seen = t.seen + (size_t)k * G * a.entries;
        const int from = k & 1, to = from ^ 1;
        for (int v = 0; v < n; v++) {
            Row<G>& row = rows[v];
            Probe<G> probes[kMaxBeam];
            for (int b = 0; b < row.count; b++) probes[b] = probe<G>(row.rest[from][b], t.factors[k]);
            int b = 0;
            for (; b + 2 <= row.count; b += 2) scan<G, 2>(probes + b, b, small, halves, a.entries, row.minima + b);
            if (b < row.count) scan<G, 1>(probes + b, b, small, halves, a.entries, row.minima + b);
        }
        for (int v = 0; v < n; v++) {
            Row<G>& row = rows[v];
            int32_t keys[32];
            int found;
            if (k == last) {
                I best = row.minima[0];
                for (int b = 1; b < row.count; b++) best = min(best, row.minima[b]);
                best.store(keys);
                for (int i = 1; i < 16; i++) keys[0] = std::min(keys[0], keys[i]);
                found = 1;
            } else {
                found = std::min(sorted(row.minima, row.count, keys), a.beam);
            }
            for (int b = 0; b < found; b++) {
                const int parent = beam_of(keys[b]), code = code_of(keys[b]);
                for (int i = 0; i < G; i++) row.rest[to][b][i] = row.rest[from][parent][i] - seen[code * G + i];
                std::memcpy(row.codes[to][b], row.codes[from][parent], 8);
                row.codes[to][b][k] = (uint8_t)code;
            }
            row.count = found;
        }
    }
    for (int v = 0; v < n; v++) {
        std::memcpy(targets + v * G, rows[v].rest[(last + 1) & 1][0], sizeof(float) * G);
        std::memcpy(codes[v], rows[v].codes[(last + 1) & 1][0], 8);
    }
}

// Where the codes that were there leave less, they stay.
template <int G> void hold(const SearchArgs& a, const Tables& t, const uint8_t* held, const float* target, float* rest, uint8_t* codes) {
    float other[G];
    std::memcpy(other, target, sizeof(other));
    for (int k = 0; k < a.num_codebooks; k++)
        for (int i = 0; i < G; i++) other[i] -= t.seen[((size_t)k * a.entries + held[k]) * G + i];
    if (squares<G>(other) > squares<G>(rest)) return;
    std::memcpy(rest, other, sizeof(other));
    std::memcpy(codes, held, (size_t)a.num_codebooks);
}

template <int G> F product(const float* x, const float* matrix, F start) {
    for (int i = 0; i < G; i++) start = fma(F::set1(x[i]), F::load_first(matrix + i * G, G), start);
    return start;
}

template <int G> void rows(const SearchArgs& a, int first, int n) {
    const int width = a.groups * G;
    for (int j = 0; j < a.groups; j++) {
        const Tables t = tables(a, j);
        for (int begin = first; begin < first + n; begin += kTogether) {
            const int count = std::min(kTogether, first + n - begin);
            float target[kTogether][G], rest[kTogether][G];
            uint8_t codes[kTogether][8] = {};
            for (int v = 0; v < count; v++) {
                const size_t at = (size_t)(begin + v) * width + (size_t)j * G;
                const F fed = a.back ? product<G>(a.fed + at, a.back + (size_t)j * G * G, F::zero()) : F::load_first(a.fed + at, G);
                product<G>(a.wanted + at, a.forward + (size_t)j * G * G, fed).store_first(target[v], G);
            }
            std::memcpy(rest, target, sizeof(rest));
            codes_of<G>(a, t, count, rest[0], codes);
            for (int v = 0; v < count; v++) {
                const size_t row = (size_t)(begin + v), at = row * width + (size_t)j * G;
                const size_t code_at = (row * a.groups + j) * a.num_codebooks;
                if (a.held) hold<G>(a, t, a.held + code_at, target[v], rest[v], codes[v]);
                std::memcpy(a.codes + code_at, codes[v], (size_t)a.num_codebooks);
                F left = F::load_first(a.wanted + at, G);
                for (int k = 0; k < a.num_codebooks; k++)
                    left = left - F::load_first((const float*)a.scratch + ((size_t)k * a.entries + codes[v][k]) * G, G);
                left.store_first(a.left + at, G);
                std::memcpy(a.fed + at, rest[v], sizeof(float) * G);
                for (int to = (j + 1) * G; to < width; to += 16) {
                    float* fed = a.fed + row * width + to;
                    const int lanes = std::min(16, width - to);
                    F sum = F::load_first(fed, lanes);
                    for (int i = 0; i < G; i++)
                        sum = fma(F::set1(a.left[at + i]), F::load_first(a.later + ((size_t)j * G + i) * width + to, lanes), sum);
                    sum.store_first(fed, lanes);
                }
            }
        }
    }
}

}  // namespace search

inline size_t search_bytes(const SearchArgs& a) {
    const size_t all = (size_t)a.num_codebooks * a.entries;
    return all * a.group * sizeof(float) + (size_t)a.groups * (all * search::entry_bytes(a.group) + 64);
}

inline void search_prepare(const SearchArgs& a, int group) {
    if (a.group == 8)
        search::prepare<8>(a, group);
    else
        search::prepare<16>(a, group);
}

inline void search_rows(const SearchArgs& a, int first, int n) {
    if (a.group == 8)
        search::rows<8>(a, first, n);
    else
        search::rows<16>(a, first, n);
}

}  // namespace nutshell::NUTSHELL_LEVEL
