// Attention of provisional rows over the cache: softmax(q k^T * scale) v, with the maximum and the sum kept as it goes.
//
// A query vector is one head of one row. The query heads of a key-value head, and several rows, are taken together in
// tiles of kTileRows vectors, so that each loaded vector of K or V is used by all of them. Chunks of kChunk positions:
// scores (16 positions at a time: no sums across lanes), then the softmax step, then the weighted sum of V.
//
// Parts. Few rows: (key-value head, segment of positions), merged afterwards. Many rows: (key-value head, block of rows)
// over all positions, which write the output themselves. Neither depends on the number of threads.
#pragma once
#include "exp.h"
#include "kv.h"
#include "mask.h"
#include "meanwhile.h"
#include "tile.h"

namespace nutshell::NUTSHELL_LEVEL {

constexpr int kChunk = 128;      // positions whose scores are held at once
constexpr int kSegment = 256;    // positions of one part when rows are few: two chunks
constexpr int kFewRows = 16;     // above this there are enough blocks of rows to share out
constexpr int kBlockVectors = 48;  // query vectors of one part when rows are many
constexpr int kState = 32;       // floats per query vector: the maximum, (unused), 16 lanes of the sum

struct AttentionPlan {
    int group;     // query heads per key-value head
    int segments;  // 1: parts write the output
    int rows;      // rows per part
    int blocks;    // blocks of rows
    size_t part_floats;

    AttentionPlan(const KvLayer& kv, const AttentionArgs& args) {
        group = args.q_heads / kv.heads;
        bool few = args.n <= kFewRows;
        segments = few ? (args.committed + args.n + kSegment - 1) / kSegment : 1;
        rows = few ? args.n : kBlockVectors / group > 8 ? kBlockVectors / group : 8;
        blocks = (args.n + rows - 1) / rows;
        part_floats = (size_t)(rows * group) * (size_t)(kState + (segments > 1 ? args.head_dim : 0));
    }
};

// What one part works on.
struct AttentionPart {
    const KvLayer& kv;
    const AttentionArgs& args;
    int head, group, row0;  // key-value head; the first row of the block
    float* state;           // [vectors, kState]
    float* out;             // partial sums [vectors, head_dim], or null: args.out
    int row(int vector) const { return row0 + vector / group; }
    ptrdiff_t offset(int vector) const {
        return ((ptrdiff_t)row(vector) * args.q_heads + head * group + vector % group) * args.head_dim;
    }
    float* result(int vector) const { return out ? out + (ptrdiff_t)vector * args.head_dim : args.out + offset(vector); }
};

// R x (16 S) products, S as large as `count` vectors allow; calls done(first vector, S, acc) after start filled acc.
template <class Load, int R, class Start, class Done>
inline void multiply_vectors(const float* const* a, const typename Load::Number* b, ptrdiff_t step, ptrdiff_t stride, int k,
                             int count, Meanwhile& meanwhile, Start start, Done done) {
    const auto each = [&] { meanwhile.step(); };
    F acc[R * kTileVectors];
    int s = 0;
    for (; s + kTileVectors <= count; s += kTileVectors) {
        start(s, kTileVectors, acc);
        multiply<Load, kTileVectors, R>(a, b + s * stride, step, stride, k, acc, each);
        done(s, kTileVectors, acc);
    }
    for (; s < count; s++) {
        start(s, 1, acc);
        multiply<Load, 1, R>(a, b + s * stride, step, stride, k, acc, each);
        done(s, 1, acc);
    }
}

// What the chunk begin .. end reads after its first vectors of K, in that order, and the first ones of the next chunk.
inline void fetch_rest(const AttentionPart& part, int begin, int end, size_t size, Meanwhile& meanwhile) {
    const KvLayer& kv = part.kv;
    const size_t start = (size_t)kTileVectors * 16, all = (size_t)(end - begin), width = (size_t)kv.head_dim * size;
    const char* k = (const char*)kv.k + k_index(kv, part.head, begin & ~15) * size;
    if (all > start) meanwhile.add(k + start * width, (all - start) * width);
    meanwhile.add((const char*)kv.v + v_index(kv, part.head, begin) * size, all * width);
    const size_t left = (size_t)(part.args.committed + part.args.n - end);
    meanwhile.add(k + all * width, (left < start ? left : start) * width);
}

// R query vectors from `first` on over the positions begin .. end (begin a multiple of 16, at most kChunk of them).
template <class Load, int R> inline void attend(const AttentionPart& part, int first, int begin, int end) {
    using Number = typename Load::Number;
    const KvLayer& kv = part.kv;
    const int width = kv.head_dim, groups = (end - begin + 15) / 16;
    Meanwhile meanwhile;
    if (first == 0) fetch_rest(part, begin, end, sizeof(Number), meanwhile);
    const size_t cells = (size_t)part.head * (size_t)kv.capacity + (size_t)begin;
    alignas(64) float scores[R * kChunk];
    alignas(64) float change[16] = {};
    const float *q[R], *p[R];
    float *state[R], *out[R];
    for (int r = 0; r < R; r++) {
        q[r] = part.args.q + part.offset(first + r);
        p[r] = scores + r * kChunk;
        state[r] = part.state + (ptrdiff_t)(first + r) * kState;
        out[r] = part.result(first + r);
    }
    multiply_vectors<Load, R>(
        q, (const Number*)kv.k + k_index(kv, part.head, begin), 16, (ptrdiff_t)width * 16, width, groups, meanwhile,
        [](int, int count, F* acc) {
            for (int i = 0; i < R * count; i++) acc[i] = F::zero();
        },
        [&](int s, int count, const F* acc) {
            for (int r = 0; r < R; r++)
                for (int i = 0; i < count; i++) acc[r * count + i].store(scores + r * kChunk + (s + i) * 16);
        });
    const F scale = F::set1(part.args.scale);
    for (int r = 0; r < R; r++) {
        F top = F::set1(state[r][0]);
        float* mine = scores + r * kChunk;
        for (int g = 0; g < groups; g++) {
            uint32_t bits = seen(part.args, part.row(first + r), begin + g * 16);
            F x = F::load(mine + g * 16) * scale;
            if (kv.q8) x = x * F::load_f16(kv.ks + cells + g * 16);
            // a cell that is not seen may hold anything, NaN too
            if (bits != 0xFFFFu) x = add_masked(F::masked((uint16_t)~bits, -INFINITY), (uint16_t)bits, x);
            x.store(mine + g * 16);
            top = max(top, x);
        }
        float highest = largest(top);
        change[r] = highest > -INFINITY ? state[r][0] - highest : 0.0f;
        state[r][0] = highest;
    }
    exp(F::load(change)).store(change);
    for (int r = 0; r < R; r++) {
        float* mine = scores + r * kChunk;
        // where nothing was seen yet, anything finite makes exp(-inf - shift) = 0
        F shift = F::set1(state[r][0] > -INFINITY ? state[r][0] : 0.0f), total = F::load(state[r] + 16) * F::set1(change[r]);
        for (int g = 0; g < groups; g++) {
            F x = exp(F::load(mine + g * 16) - shift);
            total = total + x;
            if (kv.q8) x = x * F::load_f16(kv.vs + cells + g * 16);
            x.store(mine + g * 16);
        }
        total.store(state[r] + 16);
    }
    multiply_vectors<Load, R>(
        p, (const Number*)kv.v + v_index(kv, part.head, begin), width, 16, end - begin, width / 16, meanwhile,
        [&](int s, int count, F* acc) {
            for (int r = 0; r < R; r++)
                for (int i = 0; i < count; i++) acc[r * count + i] = F::load(out[r] + (s + i) * 16) * F::set1(change[r]);
        },
        [&](int s, int count, const F* acc) {
            for (int r = 0; r < R; r++)
                for (int i = 0; i < count; i++) acc[r * count + i].store(out[r] + (s + i) * 16);
        });
}

template <class Load> inline void attend_rows(const AttentionPart& part, int first, int rows, int begin, int end) {
    switch (rows) {
        case 1: return attend<Load, 1>(part, first, begin, end);
        case 2: return attend<Load, 2>(part, first, begin, end);
        case 3: return attend<Load, 3>(part, first, begin, end);
        case 4: return attend<Load, 4>(part, first, begin, end);
        case 5: return attend<Load, 5>(part, first, begin, end);
        default: return attend<Load, 6>(part, first, begin, end);
    }
}

inline int attention_parts(const KvLayer& kv, const AttentionArgs& args) {
    AttentionPlan plan(kv, args);
    return kv.heads * plan.blocks * plan.segments;
}

inline size_t attention_scratch(const KvLayer& kv, const AttentionArgs& args) {
    return (size_t)attention_parts(kv, args) * AttentionPlan(kv, args).part_floats;
}

inline void attention_part(const KvLayer& kv, const AttentionArgs& args, int index, float* scratch) {
    const AttentionPlan plan(kv, args);
    const int segment = index % plan.segments;
    // later rows see more: they come first, so that no thread starts the longest part last
    const int block = plan.blocks - 1 - index / plan.segments % plan.blocks;
    const int row0 = block * plan.rows, rows = args.n - row0 < plan.rows ? args.n - row0 : plan.rows;
    const int vectors = rows * plan.group;
    float* state = scratch + (size_t)index * plan.part_floats;
    const bool partial = plan.segments > 1;
    const AttentionPart part{kv, args, index / plan.segments / plan.blocks, plan.group, row0, state,
                             partial ? state + (ptrdiff_t)vectors * kState : nullptr};
    for (int v = 0; v < vectors; v++) {
        float *mine = state + (ptrdiff_t)v * kState, *out = part.result(v);
        mine[0] = -INFINITY;
        F::zero().store(mine + 16);
        for (int d = 0; d < args.head_dim; d += 16) F::zero().store(out + d);
    }
    int stop = partial ? (segment + 1) * kSegment : args.committed + args.n;
    for (int at = segment * kSegment; at < stop; at += kChunk)
        for_row_tiles(vectors, kTileRows, [&](int first, int count) {
            int begin = args.committed, end = 0;
            for (int row = part.row(first); row <= part.row(first + count - 1); row++) {
                int low = seen_begin(args, row), high = seen_end(args, row);
                begin = low < begin ? low : begin;
                end = high > end ? high : end;
            }
            begin = begin > at ? begin & ~15 : at;
            end = end < at + kChunk ? end : at + kChunk;
            if (begin >= end) return;
            if (kv.q8)
                attend_rows<Integers8>(part, first, count, begin, end);
            else
                attend_rows<Floats16>(part, first, count, begin, end);
        });
    if (partial) return;
    for (int v = 0; v < vectors; v++) {
        float total = sum(F::load(state + (ptrdiff_t)v * kState + 16)), *out = part.result(v);
        F factor = F::set1(total > 0 ? 1.0f / total : 0.0f);
        for (int d = 0; d < args.head_dim; d += 16) (F::load(out + d) * factor).store(out + d);
    }
}

inline int attention_merges(const KvLayer& kv, const AttentionArgs& args) {
    return AttentionPlan(kv, args).segments > 1 ? args.n : 0;
}

// All heads of row `row` from the segments' partial sums.
inline void attention_merge(const KvLayer& kv, const AttentionArgs& args, int row, const float* scratch) {
    const AttentionPlan plan(kv, args);
    for (int head = 0; head < args.q_heads; head++) {
        const int vector = row * plan.group + head % plan.group;
        const float* states = scratch + (size_t)(head / plan.group * plan.segments) * plan.part_floats + vector * kState;
        const float* sums = states - vector * kState + (ptrdiff_t)(args.n * plan.group) * kState + vector * args.head_dim;
        float* out = args.out + ((ptrdiff_t)row * args.q_heads + head) * args.head_dim;
        float top = -INFINITY, total = 0;
        for (int s = 0; s < plan.segments; s++) {
            float highest = states[(size_t)s * plan.part_floats];
            top = highest > top ? highest : top;
        }
        for (int d = 0; d < args.head_dim; d += 16) F::zero().store(out + d);
        for (int s = 0; s < plan.segments; s++) {
            const float *state = states + (size_t)s * plan.part_floats, *from = sums + (size_t)s * plan.part_floats;
            if (!(state[0] > -INFINITY)) continue;
            F weight = exp(F::set1(state[0] - top));
            total += sum(F::load(state + 16) * weight);
            for (int d = 0; d < args.head_dim; d += 16) fma(F::load(from + d), weight, F::load(out + d)).store(out + d);
        }
        F factor = F::set1(total > 0 ? 1.0f / total : 0.0f);
        for (int d = 0; d < args.head_dim; d += 16) (F::load(out + d) * factor).store(out + d);
    }
}

}  // namespace nutshell::NUTSHELL_LEVEL
