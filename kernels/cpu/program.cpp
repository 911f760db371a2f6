#include "program.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <stdexcept>

#include "embedding.h"

namespace nutshell {
namespace {

constexpr int kSplitWidth = 2048;  // narrower rows are faster done by one thread than shared out

using Clock = std::chrono::steady_clock;

}  // namespace

Program::Program(const Level& level, int threads, int slots, int capacity, bool kv_q8, bool precise)
    : level_(level), pool_(threads), precise_(precise), kv_q8_(kv_q8), capacity_((capacity + 15) / 16 * 16),
      slots_((size_t)slots), slot_width_((size_t)slots), embedding_scratch_((size_t)pool_.threads()) {}

void Program::embed(const Weight* table, Place out, float scale) {
    embedding_floats_ = std::max(embedding_floats_, embedding_scratch(*table));
    Step step{Kind::embed};
    step.table = table;
    step.out = out;
    step.number = scale;
    steps_.push_back(std::move(step));
}

void Program::rms_norm(Place x, const float* weight, int weight_width, float eps, Place out) {
    Step step{Kind::rms_norm, x, {}, out};
    step.weight = weight;
    step.weight_width = weight_width;
    step.number = eps;
    steps_.push_back(std::move(step));
}

void Program::linears(Place x, std::vector<const Weight*> weights, std::vector<Place> outs, bool accumulate) {
    Step step{Kind::prepare, x};
    step.index = (int)groups_.size();
    groups_.emplace_back(level_, std::move(weights));
    steps_.push_back(step);
    step.kind = Kind::linear;
    step.outs = std::move(outs);
    step.accumulate = accumulate;
    steps_.push_back(std::move(step));
}

void Program::rope(Place x, int head_dim, const float* inverse_frequencies, int count, float factor) {
    const auto same = [&](const RopeTable& r) {
        return r.count == count && r.factor == factor && std::equal(inverse_frequencies, inverse_frequencies + count, r.inverse_frequencies);
    };
    const auto found = std::find_if(ropes_.begin(), ropes_.end(), same);
    Step step{Kind::rope, x};
    step.index = (int)(found - ropes_.begin());
    step.head_dim = head_dim;
    if (found == ropes_.end()) {
        ropes_.emplace_back();
        ropes_.back().inverse_frequencies = inverse_frequencies;
        ropes_.back().count = count;
        ropes_.back().factor = factor;
    }
    steps_.push_back(std::move(step));
}

void Program::attention(int layer, Place q, Place k, Place v, int head_dim, float scale, Place out, int window) {
    if (layers_.size() <= (size_t)layer) layers_.resize((size_t)layer + 1);
    KvLayer& kv = layers_[(size_t)layer];
    if (kv.heads) throw std::invalid_argument("Two attentions of one layer.");
    kv = {capacity_, k.width / head_dim, head_dim, kv_q8_ ? 1 : 0, nullptr, nullptr, nullptr, nullptr};
    Step step{Kind::store, k, v};
    step.index = layer;
    steps_.push_back(step);
    step = Step{Kind::attention, q, {}, out};
    step.index = layer;
    step.head_dim = head_dim;
    step.number = scale;
    step.window = window;
    steps_.push_back(std::move(step));
}

void Program::swiglu(Place gate, Place up, Place out) { steps_.push_back(Step{Kind::swiglu, gate, up, out}); }

void Program::add(Place x, Place y) { steps_.push_back(Step{Kind::add, x, y}); }

void Program::output(Place final, const Weight* head) {
    Step step{Kind::head, final};
    step.index = (int)groups_.size();
    step.table = head;
    groups_.emplace_back(level_, std::vector<const Weight*>{head});
    final_ = final;
    steps_.push_back(std::move(step));
}

void Program::finish() {
    for (int i = 0, first = 0; i < (int)steps_.size(); i++) {
        const Step& step = steps_[(size_t)i];
        for (const Place& place : {step.x, step.y, step.out})
            slot_width_[(size_t)place.slot] = std::max(slot_width_[(size_t)place.slot], place.width);
        for (const Place& place : step.outs)
            slot_width_[(size_t)place.slot] = std::max(slot_width_[(size_t)place.slot], place.width);
        const bool end = i + 1 == (int)steps_.size();
        if (by_rows(step.kind) && !end) continue;
        Phase phase{first, by_rows(step.kind) ? i + 1 : i, by_rows(step.kind) ? -1 : i, 0};
        for (int j = phase.first; j < phase.last; j++) {
            const Step& row = steps_[(size_t)j];
            const bool splits = row.kind == Kind::swiglu || row.kind == Kind::add
                                || (row.kind == Kind::prepare && groups_[(size_t)row.index].splittable());
            const bool same = j == phase.first || phase.width == row.x.width;
            phase.width = splits && same ? row.x.width : 0;
            if (!phase.width) break;
        }
        if (phase.width < kSplitWidth) phase.width = 0;
        phases_.push_back(phase);
        first = i + 1;
    }
    for (size_t i = 0; i < groups_.size(); i++) groups_[i].before(groups_[(i + 1) % groups_.size()]);
    size_t total = 0;
    const auto bytes_of = [&](const KvLayer& kv, size_t* scales) {
        const size_t cells = (size_t)kv.capacity * (size_t)kv.heads;
        *scales = kv.q8 ? (cells * 2 + 63) / 64 * 64 : 0;
        return cells * (size_t)kv.head_dim * (kv.q8 ? 1 : 2);  // a multiple of 64 for every even head_dim: capacity is one of 16
    };
    size_t scales;
    for (const KvLayer& kv : layers_) {
        const size_t numbers = bytes_of(kv, &scales);
        total += 2 * ((numbers + 63) / 64 * 64 + scales);
    }
    char* next = kv_memory_.make(total);
    for (KvLayer& kv : layers_) {
        const size_t numbers = (bytes_of(kv, &scales) + 63) / 64 * 64;
        kv.k = next;
        kv.v = next + numbers;
        kv.ks = (uint16_t*)(next + 2 * numbers);
        kv.vs = (uint16_t*)(next + 2 * numbers + scales);
        next += 2 * (numbers + scales);
    }
    for (Memory& scratch : embedding_scratch_) scratch.as<float>(embedding_floats_ + 1);
}

void Program::begin(const Batch& batch) {
    rows_ = batch.n;
    for (size_t i = 0; i < slots_.size(); i++) slots_[i].as<float>((size_t)batch.n * (size_t)slot_width_[i] + 16);
    for (RopeTable& rope : ropes_) {
        const size_t count = (size_t)rope.count;
        float* cos = rope.cos.as<float>((size_t)batch.n * count);
        float* sin = rope.sin.as<float>((size_t)batch.n * count);
        for (int r = 0; r < batch.n; r++) {
            for (size_t i = 0; i < count; i++) {
                const float angle = (float)batch.positions[r] * rope.inverse_frequencies[i];
                cos[(size_t)r * count + i] = std::cos(angle) * rope.factor;
                sin[(size_t)r * count + i] = std::sin(angle) * rope.factor;
            }
        }
    }
}

bool Program::forward(const Batch& batch, int committed) {
    begin(batch);
    if (stream_) stream_->begin();
    if (profiling_) seconds_.assign(phases_.size(), {});
    for (size_t number = 0; number < phases_.size(); number++) {
        const Phase& phase = phases_[number];
        if (abort_.load(std::memory_order_relaxed)) return false;
        const Clock::time_point start = profiling_ ? Clock::now() : Clock::time_point{};
        run_rows(phase, batch, committed);
        const int block = phase.whole < 0 ? -1 : steps_[(size_t)phase.whole].block;
        if (block >= 0 && !stream_->wait(block, abort_)) return false;
        const Clock::time_point middle = profiling_ ? Clock::now() : start;
        if (phase.whole >= 0) run_whole(steps_[(size_t)phase.whole], batch, committed);
        if (block >= 0) stream_->release(block);
        if (!profiling_) continue;
        seconds_[number] = {std::chrono::duration<double>(middle - start).count(),
                            std::chrono::duration<double>(Clock::now() - middle).count()};
    }
    return true;
}

void Program::run_rows(const Phase& phase, const Batch& batch, int committed) {
    for (int i = phase.first; i < phase.last; i++) {
        const Step& step = steps_[(size_t)i];
        if (step.kind == Kind::prepare)
            groups_[(size_t)step.index].begin(workspace_, pool_.threads(), batch.n, Regime::automatic, precise_);
    }
    const int threads = pool_.threads();
    int pieces = 1, piece = 1 << 30;
    if (phase.width && batch.n < threads) {
        piece = ((phase.width + threads - 1) / threads + kBlock - 1) / kBlock * kBlock;
        pieces = (phase.width + piece - 1) / piece;
    }
    pool_.run(batch.n * pieces, [&](int chunk, int thread) {
        for (int i = phase.first; i < phase.last; i++)
            run_row(steps_[(size_t)i], batch, committed, chunk / pieces, chunk % pieces * piece, piece, thread);
    });
}

// `first` and `count`: columns, for the kinds of step that a phase may split by them.
void Program::run_row(const Step& step, const Batch& batch, int committed, int row, int first, int count, int thread) {
    switch (step.kind) {
        case Kind::embed:
            embedding_row(level_, *step.table, batch.tokens[row], step.number, at(step.out, row),
                          (float*)embedding_scratch_[(size_t)thread].data());
            break;
        case Kind::rms_norm:
            level_.rms_norm(at(step.x, row), step.weight, step.x.width, step.weight_width, step.number, at(step.out, row));
            break;
        case Kind::rope: {
            const RopeTable& rope = ropes_[(size_t)step.index];
            const RopeArgs args{batch.n, step.x.width / step.head_dim, step.head_dim, 2 * rope.count,
                                (const float*)rope.cos.data(), (const float*)rope.sin.data()};
            level_.rope(args, row, at(step.x, row));
            break;
        }
        case Kind::swiglu:
            level_.swiglu(at(step.x, row) + first, at(step.y, row) + first, std::min(count, step.x.width - first),
                          at(step.out, row) + first);
            break;
        case Kind::add:
            level_.add(at(step.y, row) + first, std::min(count, step.x.width - first), at(step.x, row) + first);
            break;
        case Kind::store:
            level_.store_kv(layers_[(size_t)step.index], committed + row, at(step.x, row), at(step.y, row));
            break;
        case Kind::prepare:
            groups_[(size_t)step.index].prepare(workspace_, at(step.x, row), row, first, count, thread);
            break;
        default: break;
    }
}

void Program::run_whole(const Step& step, const Batch& batch, int committed) {
    if (step.kind == Kind::linear) {
        LinearTarget targets[8];
        for (size_t i = 0; i < step.outs.size(); i++) targets[i] = {at(step.outs[i], 0), step.outs[i].width, step.accumulate};
        groups_[(size_t)step.index].compute(workspace_, pool_, targets);
    } else if (step.kind == Kind::attention) {
        const KvLayer& kv = layers_[(size_t)step.index];
        const AttentionArgs args{batch.n, step.x.width / step.head_dim, step.head_dim, committed, batch.mask, batch.mask_words,
                                 batch.chain, step.window, batch.positions, step.number, at(step.x, 0), at(step.out, 0)};
        float* scratch = attention_scratch_.as<float>(level_.attention_scratch(kv, args) + 16);
        pool_.run(level_.attention_parts(kv, args), [&](int part, int) { level_.attention_part(kv, args, part, scratch); });
        pool_.run(level_.attention_merges(kv, args), [&](int unit, int) { level_.attention_merge(kv, args, unit, scratch); });
    } else {
        run_head(step, batch);
    }
}

void Program::run_head(const Step& step, const Batch& batch) {
    const int count = batch.wanted_count;
    if (!count) return;
    const size_t width = (size_t)step.x.width;
    float* rows = gathered_.as<float>((size_t)count * width);
    for (int i = 0; i < count; i++) std::copy_n(at(step.x, batch.wanted[i]), width, rows + (size_t)i * width);
    const LinearTarget target{batch.logits, step.table->out, false};
    groups_[(size_t)step.index].run(workspace_, pool_, rows, count, &target, Regime::automatic, precise_);
}

void Program::move(int from, int to) {
    for (const KvLayer& kv : layers_) level_.move_kv(kv, from, to);
}

void Program::hidden(float* out) const {
    if (rows_) std::copy_n((const float*)slots_[(size_t)final_.slot].data(), (size_t)rows_ * (size_t)final_.width, out);
}

std::vector<std::array<double, 2>> Program::profile(bool on) {
    profiling_ = on;
    return seconds_;
}

}  // namespace nutshell
