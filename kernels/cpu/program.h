// The steps of kernels/program.py as one native call per forward.
#pragma once
#include <array>
#include <atomic>
#include <memory>
#include <vector>

#include "linear.h"
#include "memory.h"
#include "pool.h"
#include "stream.h"
#include "types.h"

namespace nutshell {

// A place for an activation: (rows, width) numbers. Several values may use one, one after the other (executor.py decides).
struct Place {
    int slot, width;
};

// One token batch.
struct Batch {
    int n;
    const int32_t* tokens;
    const int32_t* positions;
    const uint64_t* mask;
    int mask_words;
    bool chain;
    const int32_t* wanted;
    int wanted_count;
    float* logits;  // [wanted_count, vocabulary]
};

class Program {
  public:
    Program(const Level& level, int threads, int slots, int capacity, bool kv_q8, bool precise);

    // Steps, in order. Weights and arrays are kept alive by the caller.
    void embed(const Weight* table, Place out, float scale);
    void rms_norm(Place x, const float* weight, int weight_width, float eps, Place out);
    void linears(Place x, std::vector<const Weight*> weights, std::vector<Place> outs, bool accumulate);
    void streamed(int block) { steps_.back().block = block; }  // the linears just named come from a stream
    void rope(Place x, int head_dim, const float* inverse_frequencies, int count, float factor);
    void attention(int layer, Place q, Place k, Place v, int head_dim, float scale, Place out, int window);
    void swiglu(Place gate, Place up, Place out);
    void add(Place x, Place y);
    void output(Place final, const Weight* head);
    void stream(Stream* stream) { stream_ = stream; }  // which the caller keeps
    void finish();  // no steps after this

    // False: abort was set, nothing happened. The rows' cells stand behind `committed`. std::runtime_error: weights cannot be
    // read.
    bool forward(const Batch& batch, int committed);
    void move(int from, int to);  // a cell of every layer
    void hidden(float* out) const;  // [n of the last forward, width of final]
    void abort(bool flag) {
        abort_.store(flag);
        if (stream_) stream_->wake();
    }
    size_t kv_bytes() const { return kv_memory_.bytes(); }
    int hidden_width() const { return final_.width; }
    // Seconds of the last measured forward, phase by phase: in the steps that go row by row, and in the linears, the
    // attention or the head behind them. From now on they are measured, or not.
    std::vector<std::array<double, 2>> profile(bool on);

  private:
    enum class Kind { embed, rms_norm, rope, swiglu, add, store, prepare, linear, attention, head };
    struct Step {
        Kind kind;
        Place x{}, y{}, out{};
        const Weight* table = nullptr;
        const float* weight = nullptr;
        int weight_width = 0, index = 0, head_dim = 0, window = 0, block = -1;
        float number = 0;
        bool accumulate = false;
        std::vector<Place> outs{};
    };
    struct RopeTable {
        const float* inverse_frequencies;
        int count;
        float factor;
        Memory cos, sin;
    };
    // Steps that go row by row, done together for one row after the other; then one that needs all rows.
    struct Phase {
        int first, last;  // steps of the rows
        int whole;        // the other, or -1
        int width;        // of every step, where columns may be split, else 0
    };
    void begin(const Batch& batch);
    void run_rows(const Phase& phase, const Batch& batch, int committed);
    void run_row(const Step& step, const Batch& batch, int committed, int row, int first, int count, int thread);
    void run_whole(const Step& step, const Batch& batch, int committed);
    void run_head(const Step& step, const Batch& batch);
    float* at(Place place, int row) const { return (float*)slots_[(size_t)place.slot].data() + (size_t)row * place.width; }
    static bool by_rows(Kind kind) { return kind < Kind::linear; }

    const Level& level_;
    Pool pool_;
    bool precise_, kv_q8_, profiling_ = false;
    int capacity_, rows_ = 0;
    std::vector<Memory> slots_;
    std::vector<int> slot_width_;
    std::vector<Step> steps_;
    std::vector<Phase> phases_;
    std::vector<LinearGroup> groups_;
    std::vector<RopeTable> ropes_;
    std::vector<KvLayer> layers_;
    std::vector<Memory> embedding_scratch_;  // by thread
    size_t embedding_floats_ = 0;
    Workspace workspace_;
    Memory attention_scratch_, gathered_;
    ZeroMemory kv_memory_;
    Place final_{};
    Stream* stream_ = nullptr;
    std::atomic<bool> abort_{false};
    std::vector<std::array<double, 2>> seconds_;
};

}  // namespace nutshell
