// The regime driver: y = x W^T for one or several weights that read the same rows.
#pragma once
#include <vector>

#include "memory.h"
#include "pool.h"
#include "types.h"

namespace nutshell {

enum class Regime : int { automatic, decode, many };

// Where one weight's result goes: y[r * ldy + i] = (or +=, then into a residual) result + bias.
struct LinearTarget {
    const Weight* weight;
    float* y;
    int ldy;
    bool accumulate;
};

// Buffers that are kept from call to call, and the calls.
class LinearDriver {
  public:
    LinearDriver(const Level& level, Pool& pool) : level_(level), pool_(pool), threads_((size_t)pool.threads()) {}

    // All weights have the same `in`. x is [n, ldx].
    void run(const float* x, int ldx, int n, const LinearTarget* targets, int count, Regime regime, bool precise);

  private:
    struct Prepared {  // storage of one Activations
        Memory f32, q, hi, lo, scale, sum16, f32_sum16;
        Activations view;
    };
    struct Thread {
        Memory y, panel, scales;
    };
    const Activations& prepare(Prepared& into, const float* x, int ldx, int n, const Weight& weight);
    void decode(const LinearTarget* targets, int count, int row0, int n);
    void many(const LinearTarget* targets, int count, int n, bool precise);

    const Level& level_;
    Pool& pool_;
    std::vector<Thread> threads_;
    std::vector<Prepared> prepared_;
    std::vector<const Activations*> inputs_;  // by target
    std::vector<Memory> tables_;              // by target
};

// The scheme's functions at this level, or null.
inline const LinearOps* ops_of(const Level& level, const Weight& weight) { return level.linear[(int)weight.scheme]; }

}  // namespace nutshell
