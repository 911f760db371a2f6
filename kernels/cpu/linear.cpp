#include "linear.h"

#include <algorithm>
#include <stdexcept>

namespace nutshell {
namespace {

constexpr int kPanelInputs = 512;        // inputs decoded at once: 64 rows x 512 x 2 bytes = 64 KB, within the L2
constexpr int kFewPanels = 24;           // with fewer, two threads finish up to 10 % apart: rows are then halved
constexpr double kUnitBytes = 32 << 10;  // codes that a thread takes at once: about 1.5 us of reading
constexpr size_t kMaxGroup = 8;
constexpr int kJoinedRows = 512;         // rows whose slices one thread adds
constexpr int kUnitsWanted = 16;         // unless a group has too few of them to share out evenly

// Up to this many threads each one builds look-up tables of its own, in its own caches: two cores that share no cache took
// 5.9 ms a token for the down projections of a 1.5B model with shared tables, 2.9 with their own. The bits are the same.
constexpr int kOwnTables = 2;

// Making the tables of a block of AQLM takes as long as reading so much.
constexpr double kTableBytes = 4 << 10;

int round_up(int n, int unit) { return (n + unit - 1) / unit * unit; }

double bytes_per_row(const Weight& w) {
    switch (w.scheme) {
        case Scheme::f32: return 4.0 * w.in_padded;
        case Scheme::f16:
        case Scheme::bf16: return 2.0 * w.in_padded;
        case Scheme::q8: return w.in_padded;
        case Scheme::q4: return w.in_padded / 2.0;
        case Scheme::spqr: return w.in_padded * w.bits / 8.0;
        case Scheme::aqlm: return (w.bits <= 8 ? 1.0 : 2.0) * w.in_padded / w.group_size * w.num_codebooks;
    }
    return w.in_padded;
}

// One unit's result (scratch, rows kPanelRows or kMaxTileRows apart) to where it belongs, without the padding.
void deliver(const Weight& weight, const LinearTarget& target, int first, int rows, int row0, int n, const float* scratch, int lds) {
    rows = std::min(rows, weight.out - first);
    for (int r = 0; r < n; r++) {
        const float* from = scratch + (size_t)r * lds;
        float* to = target.y + (size_t)(row0 + r) * target.ldy + first;
        if (target.accumulate)
            for (int i = 0; i < rows; i++) to[i] += from[i];
        else
            for (int i = 0; i < rows; i++) to[i] = from[i];
        if (weight.bias)
            for (int i = 0; i < rows; i++) to[i] += weight.bias[first + i];
    }
}

}  // namespace

const char* LinearGroup::missing(const Level& level, const Weight& weight) {
    const LinearOps* ops = level.linear[(int)weight.scheme];
    if (!level.prepare) return "prepare";
    if (!ops || !ops->gemv || !ops->panel_f32) return "linear";
    if (!level.gemm_f32 || (weight.scheme != Scheme::f32 && !level.gemm_i16)) return "gemm";
    return nullptr;
}

LinearGroup::LinearGroup(const Level& level, std::vector<const Weight*> weights) : level_(level), weights_(std::move(weights)) {
    if (weights_.empty() || weights_.size() > kMaxGroup) throw std::invalid_argument("A group has 1 to 8 linears.");
    double bytes = 0;
    int shared = -1;
    for (const Weight* w : weights_) {
        bytes += bytes_per_row(*w) * w->out;
        const int stride = round_up(std::max(w->in, w->in_padded), kBlock);
        if (w->perm) {
            splittable_ = false;
            inputs_.push_back({w->perm, stride});
            input_of_.push_back((int)inputs_.size() - 1);
        } else {
            if (shared < 0) {
                shared = (int)inputs_.size();
                inputs_.push_back({nullptr, 0});
            }
            inputs_[(size_t)shared].stride = std::max(inputs_[(size_t)shared].stride, stride);
            input_of_.push_back(shared);
        }
    }
    const double unit = std::min(kUnitBytes, bytes / kUnitsWanted);
    for (int i = 0; i < (int)weights_.size(); i++) {
        const Weight& w = *weights_[(size_t)i];
        for (int row = 0; row < w.out; row += kPanelRows) panels_.push_back({i, row, row + kPanelRows});
        if (const int units = slices(w)) {
            const int end = round_up(w.out, kPanelRows);
            const double cost = (w.out * bytes_per_row(w) + kTableBytes * w.in_padded / kBlock) / units;
            for (int unit = 0; unit < units; unit++) tiles_.push_back({i, unit, unit + 1, cost});
            for (int row = 0; row < end; row += kJoinedRows) joins_.push_back({i, row, std::min(row + kJoinedRows, end), 1});
            continue;
        }
        double taken = 0;
        for (int tile = 0, from = 0, tiles = ops(w).tile_count(w); tile < tiles; tile++) {
            int first, rows;
            ops(w).tile_rows(w, tile, &first, &rows);
            taken += rows * bytes_per_row(w);
            if (taken < unit && tile + 1 < tiles) continue;
            tiles_.push_back({i, from, tile + 1, taken});
            from = tile + 1;
            taken = 0;
        }
    }
}

// Where the codes of a unit begin.
const void* LinearGroup::data_of(const Unit& unit) const {
    const Weight& w = *weights_[(size_t)unit.weight];
    if (slices(w)) return ops(w).slice_data(w, unit.first);
    int first, rows;
    ops(w).tile_rows(w, unit.first, &first, &rows);
    return (const char*)w.data + (size_t)(first * bytes_per_row(w));
}

// Where the threads' shares of units end, about equal in cost.
std::vector<int> LinearGroup::cut(const std::vector<Unit>& units, int threads) {
    double all = 0, taken = 0;
    for (const Unit& unit : units) all += unit.cost;
    std::vector<int> ends((size_t)threads, (int)units.size());
    int t = 0;
    for (int i = 0; i < (int)units.size(); taken += units[(size_t)i++].cost)
        // the unit in which a share should end goes to the side that has more of it
        while (t + 1 < threads && taken + units[(size_t)i].cost / 2 > all * (t + 1) / threads) ends[(size_t)t++] = i;
    return ends;
}

// The thread's first codes, or null.
const void* LinearGroup::begins(int thread) const {
    if ((size_t)thread >= tile_ends_.size()) return nullptr;
    const int first = thread ? tile_ends_[(size_t)thread - 1] : 0;
    return first < tile_ends_[(size_t)thread] ? data_of(tiles_[(size_t)first]) : nullptr;
}

void LinearGroup::begin(Workspace& workspace, int threads, int n, Regime regime, bool precise) {
    n_ = n;
    precise_ = precise;
    many_ = precise || regime == Regime::many || (regime == Regime::automatic && n > kMaxGemvRows);
    keep_all_ = !many_;
    keep_f32_ = std::any_of(weights_.begin(), weights_.end(), [&](const Weight* w) { return exact(*w); });
    if (tile_ends_.size() != (size_t)threads) {
        tile_ends_ = cut(tiles_, threads);
        join_ends_ = cut(joins_, threads);
    }
    if (workspace.threads.size() < (size_t)threads) workspace.threads.resize((size_t)threads);
    if (workspace.prepared.size() < inputs_.size()) workspace.prepared.resize(inputs_.size());
    if (workspace.tables.size() < weights_.size()) workspace.tables.resize(weights_.size());
    if (workspace.sums.size() < weights_.size()) workspace.sums.resize(weights_.size());
    size_t row = 0;
    for (size_t i = 0; i < inputs_.size(); i++) {
        Workspace::Prepared& p = workspace.prepared[i];
        const size_t stride = (size_t)inputs_[i].stride, numbers = stride * (size_t)n;
        row = std::max(row, stride);
        p.view = {n, in(), (int)stride,
                  keep_all_ || keep_f32_ ? p.f32.as<float>(numbers) : nullptr, p.q.as<int16_t>(numbers),
                  keep_all_ ? p.hi.as<int8_t>(numbers) : nullptr, keep_all_ ? p.lo.as<int8_t>(numbers) : nullptr,
                  p.scale.as<float>(numbers / kBlock), keep_all_ ? p.sum16.as<int32_t>(numbers / 16) : nullptr,
                  keep_all_ || keep_f32_ ? p.f32_sum16.as<float>(numbers / 16) : nullptr};
    }
    for (Workspace::Thread& thread : workspace.threads) {  // here, because nothing may throw in the pool
        if (!keep_all_) thread.unwanted.grow(row * 8);
        if (many_) {
            thread.y.as<float>((size_t)std::max(n, 32) * kPanelRows);
            thread.panel.as<float>(kPanelRows * kPanelInputs);
            thread.scales.as<float>(kPanelRows);
        } else {
            thread.y.as<float>((size_t)kMaxGemvRows * kMaxTileRows);
        }
    }
}

void LinearGroup::prepare(Workspace& workspace, const float* x, int row, int first, int count, int thread) const {
    const bool last = first + count >= in();
    const int length = std::min(count, in() - first);
    for (size_t i = 0; i < inputs_.size(); i++) {
        const Activations& a = workspace.prepared[i].view;
        const size_t at = (size_t)row * a.stride + first, block = at / kBlock, sixteen = at / 16;
        // where a result is not read, it goes to a place that nobody reads
        char* no = keep_all_ ? nullptr : (char*)workspace.threads[(size_t)thread].unwanted.data();
        const size_t stride = (size_t)a.stride;
        const uint32_t* perm = inputs_[i].perm;
        level_.prepare(perm ? x : x + first, in(), length, perm ? perm + first : nullptr, 0,
                       a.f32 ? const_cast<float*>(a.f32) + at : (float*)no, const_cast<int16_t*>(a.q) + at,
                       a.hi ? const_cast<int8_t*>(a.hi) + at : (int8_t*)no + 4 * stride,
                       a.lo ? const_cast<int8_t*>(a.lo) + at : (int8_t*)no + 5 * stride, const_cast<float*>(a.scale) + block,
                       a.sum16 ? const_cast<int32_t*>(a.sum16) + sixteen : (int32_t*)(no + 6 * stride),
                       a.f32_sum16 ? const_cast<float*>(a.f32_sum16) + sixteen : (float*)(no + 7 * stride),
                       last ? a.stride - first : count);
    }
}

void LinearGroup::run(Workspace& workspace, Pool& pool, const float* x, int n, const LinearTarget* targets, Regime regime,
                      bool precise) {
    begin(workspace, pool.threads(), n, regime, precise);
    pool.run(n, [&](int row, int thread) { prepare(workspace, x + (size_t)row * in(), row, 0, in(), thread); });
    compute(workspace, pool, targets);
}

void LinearGroup::compute(Workspace& workspace, Pool& pool, const LinearTarget* targets) const {
    if (many_) {
        many(workspace, pool, targets);
    } else {
        for (int row0 = 0; row0 < n_; row0 += kMaxGemvRows) decode(workspace, pool, targets, row0, std::min(kMaxGemvRows, n_ - row0));
    }
}

void LinearGroup::decode(Workspace& workspace, Pool& pool, const LinearTarget* targets, int row0, int n) const {
    const size_t count = weights_.size();
    Activations rows[kMaxGroup];
    int parts[kMaxGroup], total = 0;
    const bool own = pool.threads() <= kOwnTables;
    if (own)
        for (int t = 0; t < pool.threads(); t++) {
            Workspace::Thread& thread = workspace.threads[(size_t)t];
            if (thread.tables.size() < count) thread.tables.resize(count);
            thread.made.assign(count, 0);
        }
    for (size_t i = 0; i < count; i++) {
        const Activations& a = workspace.prepared[(size_t)input_of_[i]].view;
        const size_t skip = (size_t)row0 * a.stride;
        rows[i] = {n, a.in, a.stride, a.f32 + skip, a.q + skip, a.hi + skip, a.lo + skip, a.scale + skip / kBlock,
                   a.sum16 + skip / 16, a.f32_sum16 + skip / 16};
        const Weight& w = *weights_[i];
        parts[i] = 0;
        if (const int units = slices(w)) {
            workspace.sums[i].as<float>((size_t)units * ops(w).slice_floats(w, n));
            continue;
        }
        const size_t bytes = ops(w).table_bytes ? ops(w).table_bytes(w, n) : 0;
        parts[i] = bytes ? ops(w).table_parts(w, n) : 0;
        total += parts[i];
        if (!bytes) continue;
        if (!own) workspace.tables[i].grow(bytes);
        for (int t = 0; own && t < pool.threads(); t++) workspace.threads[(size_t)t].tables[i].grow(bytes);
    }
    const auto build = [&](size_t i, int part, void* tables) { ops(*weights_[i]).build_tables(*weights_[i], rows[i], part, tables); };
    if (!own)
        pool.run(total, [&](int part, int) {
            size_t i = 0;
            for (; part >= parts[i]; i++) part -= parts[i];
            build(i, part, workspace.tables[i].data());
        });
    workspace.shares.begin(tile_ends_);
    pool.run((int)tiles_.size(), [&](int, int thread) {
        bool shared;  // of the thread's own share
        const int number = workspace.shares.take(thread, &shared);
        const Unit& unit = tiles_[(size_t)number];
        const size_t i = (size_t)unit.weight;
        const Weight& w = *weights_[i];
        Workspace::Thread& mine = workspace.threads[(size_t)thread];
        if (slices(w)) {
            float* sums = (float*)workspace.sums[i].data();
            const bool begins = !shared || number == (thread ? tile_ends_[(size_t)thread - 1] : 0);
            const bool ends = !shared || number + 1 == tile_ends_[(size_t)thread];
            const Neighbours by{!begins, !ends ? data_of(tiles_[(size_t)number + 1]) : next_ ? next_->begins(thread) : nullptr};
            ops(w).slice_sums(w, rows[i], unit.first, by, sums + (size_t)unit.first * ops(w).slice_floats(w, n));
            return;
        }
        float* y = (float*)mine.y.data();
        void* tables = !parts[i] ? nullptr : own ? mine.tables[i].data() : workspace.tables[i].data();
        if (own && parts[i] && !mine.made[i]) {
            for (int part = 0; part < parts[i]; part++) build(i, part, tables);
            mine.made[i] = 1;
        }
        for (int tile = unit.first; tile < unit.last; tile++) {
            int first, tile_rows;
            ops(w).tile_rows(w, tile, &first, &tile_rows);
            ops(w).gemv(w, rows[i], tables, tile, y, kMaxTileRows);
            deliver(w, targets[unit.weight], first, tile_rows, row0, n, y, kMaxTileRows);
        }
    });
    workspace.shares.begin(join_ends_);  // rows by those who have most of their sums in their caches
    pool.run((int)joins_.size(), [&](int, int thread) {
        bool shared;
        const Unit& unit = joins_[(size_t)workspace.shares.take(thread, &shared)];
        const Weight& w = *weights_[(size_t)unit.weight];
        const float* sums = (const float*)workspace.sums[(size_t)unit.weight].data();
        float* y = (float*)workspace.threads[(size_t)thread].y.data();
        ops(w).join_slices(w, n, sums, unit.first, unit.last - unit.first, y, kMaxTileRows);
        deliver(w, targets[unit.weight], unit.first, unit.last - unit.first, row0, n, y, kMaxTileRows);
    });
}

void LinearGroup::many(Workspace& workspace, Pool& pool, const LinearTarget* targets) const {
    const int halves = (int)panels_.size() < kFewPanels && n_ >= 128 ? 2 : 1;
    pool.run((int)panels_.size() * halves, [&](int chunk, int thread) {
        const Unit& unit = panels_[(size_t)(chunk / halves)];
        const Weight& w = *weights_[(size_t)unit.weight];
        const Activations& a = workspace.prepared[(size_t)input_of_[(size_t)unit.weight]].view;
        Workspace::Thread& mine = workspace.threads[(size_t)thread];
        float* y = (float*)mine.y.data();
        float* scales = (float*)mine.scales.data();
        const int middle = round_up(n_ / 2, 16), row0 = chunk % halves ? middle : 0;
        const int n = halves == 1 ? n_ : chunk % halves ? n_ - middle : middle;
        std::fill(y, y + (size_t)n * kPanelRows, 0.0f);
        const bool numbers = exact(w);
        if (!numbers) ops(w).row_scales(w, unit.first, scales);
        for (int k0 = 0; k0 < w.in_padded; k0 += kPanelInputs) {
            const int k = std::min(kPanelInputs, w.in_padded - k0);
            if (numbers) {
                ops(w).panel_f32(w, unit.first, k0, k, (float*)mine.panel.data());
                level_.gemm_f32(a, row0, n, k0, k, (const float*)mine.panel.data(), y, kPanelRows);
            } else {
                ops(w).panel_i16(w, unit.first, k0, k, (int16_t*)mine.panel.data());
                level_.gemm_i16(a, row0, n, k0, k, (const int16_t*)mine.panel.data(), scales, y, kPanelRows);
            }
        }
        deliver(w, targets[unit.weight], unit.first, kPanelRows, row0, n, y, kPanelRows);
    });
}

}  // namespace nutshell
