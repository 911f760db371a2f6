// Fetching what is read next while something else is computed, a few lines at a time: many at once are dropped (128 KB in a
// row arrive by half), and the hardware's own streams end with every page.
#pragma once
#include "panels.h"

namespace nutshell::NUTSHELL_LEVEL {

class Meanwhile {
  public:
    void add(const void* from, size_t bytes) {
        if (bytes && count_ < kMost) runs_[count_++] = {(const char*)from, (const char*)from + bytes};
    }
    NUTSHELL_INLINE void step() {
        if (at_ == count_) return;
        Run& run = runs_[at_];
        read_ahead(run.next, 0);
        read_ahead(run.next, 64);
        run.next += 128;
        if (run.next >= run.end) at_++;
    }

  private:
    static constexpr int kMost = 3;
    struct Run {
        const char *next, *end;
    };
    Run runs_[kMost];
    int count_ = 0, at_ = 0;
};

}  // namespace nutshell::NUTSHELL_LEVEL
