// Who does which of a run's units: each thread has neighbouring ones, so that what it reads is one stream, and takes the last
// ones of others when its own are done.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace nutshell {

class Shares {
  public:
    // Thread t has the units ends[t - 1] .. ends[t] (from 0). Before the run, by the caller of the pool.
    void begin(const std::vector<int>& ends) {
        if (count_ != ends.size()) ranges_ = std::make_unique<Range[]>(count_ = ends.size());
        for (size_t t = 0; t < count_; t++)
            ranges_[t].left.store((uint64_t)(t ? ends[t - 1] : 0) << 32 | (uint64_t)ends[t], std::memory_order_relaxed);
    }

    // A unit that nobody has; to be called once for each unit of the run. `own`: it is of the thread's share.
    int take(int thread, bool* own) {
        *own = true;
        for (size_t i = 0; i < count_; i++) {
            const size_t t = ((size_t)thread + i) % count_;
            uint64_t left = ranges_[t].left.load(std::memory_order_relaxed);
            for (;;) {
                const uint64_t first = left >> 32, end = left & 0xFFFFFFFFu;
                if (first >= end) break;
                const uint64_t rest = i ? first << 32 | (end - 1) : (first + 1) << 32 | end;
                if (ranges_[t].left.compare_exchange_weak(left, rest, std::memory_order_relaxed)) return (int)(i ? end - 1 : first);
            }
            *own = false;
        }
        return -1;  // not while no more units are asked for than there are: one that is left is found
    }

  private:
    struct alignas(64) Range {
        std::atomic<uint64_t> left{0};  // first << 32 | end
    };
    std::unique_ptr<Range[]> ranges_;
    size_t count_ = 0;
};

}  // namespace nutshell
