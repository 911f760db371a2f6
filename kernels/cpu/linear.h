// The regimes of y = x W^T for the weights that read the same rows: `decode` (few rows) and `many` (types.h).
#pragma once
#include <vector>

#include "memory.h"
#include "pool.h"
#include "shares.h"
#include "types.h"

namespace nutshell {

enum class Regime : int { automatic, decode, many };

// Where one weight's result goes: y[r * ldy + i] = result + bias, or += of it.
struct LinearTarget {
    float* y;
    int ldy;
    bool accumulate;
};

// Buffers that all groups of one model share, one group after the other.
struct Workspace {
    struct Prepared {
        Memory f32, q, hi, lo, scale, sum16, f32_sum16;
        Activations view;
    };
    struct Thread {
        Memory y, panel, scales, unwanted;
        std::vector<Memory> tables;  // of its own, where threads do not share them
        std::vector<char> made;      // which of them are of this call
    };
    std::vector<Prepared> prepared;
    std::vector<Memory> tables, sums;  // by weight of the group
    std::vector<Thread> threads;
    Shares shares;
};

// One or several weights with the same `in`. Use: begin, prepare for each row, compute.
class LinearGroup {
  public:
    LinearGroup(const Level& level, std::vector<const Weight*> weights);

    // Which operation the level lacks for the scheme of a weight, or null.
    static const char* missing(const Level& level, const Weight& weight);

    // False where a weight reads the inputs in an order of its own: prepare then needs whole rows.
    bool splittable() const { return splittable_; }
    int in() const { return weights_[0]->in; }

    // The group that is computed next: threads fetch the beginning of its weights when they have no more work of this one.
    void before(const LinearGroup& next) { next_ = &next; }

    void begin(Workspace& workspace, int threads, int n, Regime regime, bool precise);
    // Inputs first .. first + count (multiples of kBlock, but for the end of the row) of row x. Any thread.
    void prepare(Workspace& workspace, const float* x, int row, int first, int count, int thread) const;
    void compute(Workspace& workspace, Pool& pool, const LinearTarget* targets) const;
    // All three for x [n, in].
    void run(Workspace& workspace, Pool& pool, const float* x, int n, const LinearTarget* targets, Regime regime, bool precise);

  private:
    struct Input {  // activations in one order
        const uint32_t* perm;
        int stride;
    };
    struct Unit {  // of work: tiles or slices first .. last of a weight (decode), rows (join, many)
        int weight, first, last;
        double cost = 0;  // bytes of codes, or what takes as long
    };
    static std::vector<int> cut(const std::vector<Unit>& units, int threads);
    const void* data_of(const Unit& unit) const;
    const void* begins(int thread) const;
    void decode(Workspace& workspace, Pool& pool, const LinearTarget* targets, int row0, int n) const;
    void many(Workspace& workspace, Pool& pool, const LinearTarget* targets) const;
    const LinearOps& ops(const Weight& weight) const { return *level_.linear[(int)weight.scheme]; }
    int slices(const Weight& weight) const { return ops(weight).slice_units ? ops(weight).slice_units(weight) : 0; }
    bool exact(const Weight& weight) const { return precise_ || weight.scheme == Scheme::f32; }

    const Level& level_;
    std::vector<const Weight*> weights_;
    std::vector<Input> inputs_;
    std::vector<int> input_of_;  // by weight
    std::vector<Unit> tiles_, joins_, panels_;
    std::vector<int> tile_ends_, join_ends_;  // of the threads' shares
    const LinearGroup* next_ = nullptr;
    bool splittable_ = true;
    int n_ = 0;
    bool many_ = false, precise_ = false, keep_all_ = false, keep_f32_ = false;
};

}  // namespace nutshell
