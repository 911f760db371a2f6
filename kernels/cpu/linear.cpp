#include "linear.h"

#include <algorithm>

namespace nutshell {
namespace {

constexpr int kPanelInputs = 512;  // inputs decoded at once: 64 rows x 512 x 2 bytes = 64 KB, within the L2

int round_up(int n, int unit) { return (n + unit - 1) / unit * unit; }

// One unit's result (scratch, row stride `lds`) to where it belongs, without the padding rows.
void deliver(const LinearTarget& target, int first, int rows, int row0, int n, const float* scratch, int lds) {
    rows = std::min(rows, target.weight->out - first);
    const float* bias = target.weight->bias;
    for (int r = 0; r < n; r++) {
        const float* from = scratch + (size_t)r * lds;
        float* to = target.y + (size_t)(row0 + r) * target.ldy + first;
        if (target.accumulate)
            for (int i = 0; i < rows; i++) to[i] += from[i];
        else
            std::copy(from, from + rows, to);
        if (bias)
            for (int i = 0; i < rows; i++) to[i] += bias[first + i];
    }
}

}  // namespace

const Activations& LinearDriver::prepare(Prepared& into, const float* x, int ldx, int n, const Weight& weight) {
    Activations& a = into.view;
    const int stride = round_up(std::max(weight.in, weight.in_padded), kBlock);
    const size_t numbers = (size_t)n * stride;
    float* f32 = into.f32.as<float>(numbers);
    int16_t* q = into.q.as<int16_t>(numbers);
    int8_t* hi = into.hi.as<int8_t>(numbers);
    int8_t* lo = into.lo.as<int8_t>(numbers);
    float* scale = into.scale.as<float>(numbers / kBlock);
    int32_t* sum16 = into.sum16.as<int32_t>(numbers / 16);
    float* f32_sum16 = into.f32_sum16.as<float>(numbers / 16);
    a = {n, weight.in, stride, f32, q, hi, lo, scale, sum16, f32_sum16};
    pool_.run(n, [&](int row, int) {
        level_.prepare(x, ldx, weight.in, weight.perm, row, f32, q, hi, lo, scale, sum16, f32_sum16, stride);
    });
    return a;
}

void LinearDriver::decode(const LinearTarget* targets, int count, int row0, int n) {
    for (int t = 0; t < count; t++) {
        const Weight& weight = *targets[t].weight;
        const LinearOps& ops = *ops_of(level_, weight);
        Activations a = *inputs_[(size_t)t];
        const size_t skip = (size_t)row0 * a.stride;
        a = {n, a.in, a.stride, a.f32 + skip, a.q + skip, a.hi + skip, a.lo + skip, a.scale + skip / kBlock,
             a.sum16 + skip / 16, a.f32_sum16 + skip / 16};
        void* tables = nullptr;
        if (ops.table_bytes && ops.table_bytes(weight, n)) {
            tables = tables_[(size_t)t].grow(ops.table_bytes(weight, n));
            pool_.run(ops.table_parts(weight, n), [&](int part, int) { ops.build_tables(weight, a, part, tables); });
        }
        pool_.run(ops.tile_count(weight), [&](int tile, int thread) {
            float* y = threads_[(size_t)thread].y.as<float>((size_t)kMaxGemvRows * kMaxTileRows);
            int first, rows;
            ops.tile_rows(weight, tile, &first, &rows);
            ops.gemv(weight, a, tables, tile, y, kMaxTileRows);
            deliver(targets[t], first, rows, row0, n, y, kMaxTileRows);
        });
    }
}

void LinearDriver::many(const LinearTarget* targets, int count, int n, bool precise) {
    for (int t = 0; t < count; t++) {
        const Weight& weight = *targets[t].weight;
        const LinearOps& ops = *ops_of(level_, weight);
        const Activations& a = *inputs_[(size_t)t];
        const bool exact = precise || !ops.panel_i16;
        pool_.run((weight.out + kPanelRows - 1) / kPanelRows, [&](int panel_index, int thread) {
            Thread& mine = threads_[(size_t)thread];
            float* y = mine.y.as<float>((size_t)std::max(n, kMaxGemvRows * kMaxTileRows / kPanelRows) * kPanelRows);
            void* panel = mine.panel.grow(sizeof(float) * kPanelRows * kPanelInputs);
            float* scales = mine.scales.as<float>(kPanelRows);
            const int first = panel_index * kPanelRows;
            std::fill(y, y + (size_t)n * kPanelRows, 0.0f);
            if (!exact) ops.row_scales(weight, first, scales);
            for (int k0 = 0; k0 < weight.in_padded; k0 += kPanelInputs) {
                const int k = std::min(kPanelInputs, weight.in_padded - k0);
                if (exact) {
                    ops.panel_f32(weight, first, k0, k, (float*)panel);
                    level_.gemm_f32(a, 0, n, k0, k, (float*)panel, y, kPanelRows);
                } else {
                    ops.panel_i16(weight, first, k0, k, (int16_t*)panel);
                    level_.gemm_i16(a, 0, n, k0, k, (int16_t*)panel, scales, y, kPanelRows);
                }
            }
            deliver(targets[t], first, kPanelRows, 0, n, y, kPanelRows);
        });
    }
}

void LinearDriver::run(const float* x, int ldx, int n, const LinearTarget* targets, int count, Regime regime, bool precise) {
    inputs_.assign((size_t)count, nullptr);
    if (tables_.size() < (size_t)count) tables_.resize((size_t)count);
    if (prepared_.size() < (size_t)count + 1) prepared_.resize((size_t)count + 1);
    // activations once for all weights that read them in order and padded alike; once more for each one with an order of its own
    const Activations* shared = nullptr;
    for (int t = 0; t < count; t++) {
        const Weight& weight = *targets[t].weight;
        if (weight.perm) {
            inputs_[(size_t)t] = &prepare(prepared_[(size_t)t + 1], x, ldx, n, weight);
        } else {
            if (!shared || shared->stride < weight.in_padded) shared = &prepare(prepared_[0], x, ldx, n, weight);
            inputs_[(size_t)t] = shared;
        }
    }
    if (precise || regime == Regime::many || (regime == Regime::automatic && n > kMaxGemvRows)) {
        many(targets, count, n, precise);
    } else {
        for (int row0 = 0; row0 < n; row0 += kMaxGemvRows) decode(targets, count, row0, std::min(kMaxGemvRows, n - row0));
    }
}

}  // namespace nutshell
