#include "pool.h"

#include <algorithm>
#include <chrono>

#include "wait.h"

namespace nutshell {
namespace {

constexpr int kCountBits = 20;
constexpr uint64_t kCountMask = (1u << kCountBits) - 1;

// Steps of a token are 1 to 100 us apart, a sleeping thread takes about 50 us to come back.
constexpr std::chrono::microseconds kSpin{50};

// Rounds (about 30 ns each) before the core is offered to others: the thread that is waited for may be queued behind us.
constexpr int kAlone = 128;

// Waits for condition(), for at most kSpin; false when that was not enough.
template <class Condition> bool spin(Condition condition) {
    std::chrono::steady_clock::time_point end{};
    for (int round = 0;; round++) {
        if (condition()) return true;
        relax();
        if (round % 32 != 31) continue;
        if (round > kAlone) std::this_thread::yield();
        const auto now = std::chrono::steady_clock::now();
        if (round == 31) end = now + kSpin;
        if (now >= end) return false;
    }
}

}  // namespace

Pool::Pool(int threads) {
    for (int thread = 1; thread < threads; thread++) workers_.emplace_back([this, thread] { serve(thread); });
}

Pool::~Pool() {
    stopping_.store(1);
    calls_.fetch_add(1);
    wake_all(calls_);
    for (std::thread& worker : workers_) worker.join();
}

void Pool::run(int count, Function function, void* context) {
    if (count <= 1 || workers_.empty()) {
        for (int chunk = 0; chunk < count; chunk++) function(context, chunk, 0);
        return;
    }
    for (int first = 0; first < count; first += (int)kCountMask) share(first, std::min(count - first, (int)kCountMask), function, context);
}

void Pool::share(int first, int count, Function function, void* context) {
    function_ = function;
    context_ = context;
    first_ = first;
    finished_.store(0, std::memory_order_relaxed);
    const uint64_t run = (ticket_.load(std::memory_order_relaxed) >> 2 * kCountBits) + 1;
    ticket_.store(run << 2 * kCountBits | (uint64_t)count << kCountBits);
    if (workers_sleep_.load() && workers_sleep_.exchange(0)) {
        calls_.fetch_add(1);
        wake_all(calls_);
    }
    const uint32_t others = (uint32_t)(count - work(0));
    const auto done = [&] { return finished_.load(std::memory_order_acquire) == others; };
    while (!spin(done)) {
        caller_sleeps_.store(1);
        const uint32_t seen = finished_.load();
        if (seen != others) sleep_while(finished_, seen);
        caller_sleeps_.store(0);
    }
}

// Takes chunks while there are any; how many it did.
int Pool::work(int thread) {
    int done = 0;
    uint64_t ticket = ticket_.load(std::memory_order_acquire);
    for (;;) {
        const uint64_t next = ticket & kCountMask, count = ticket >> kCountBits & kCountMask;
        if (next >= count) return done;
        if (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
        function_(context_, first_ + (int)next, thread);
        done++;
        ticket++;  // likely still right, and wrong at no cost
    }
}

bool Pool::has_work(std::memory_order order) const {
    const uint64_t ticket = ticket_.load(order);
    return (ticket & kCountMask) < (ticket >> kCountBits & kCountMask) || stopping_.load(order);
}

void Pool::serve(int thread) {
    while (!stopping_.load()) {
        if (!spin([this] { return has_work(std::memory_order_relaxed); })) {
            const uint32_t seen = calls_.load();
            workers_sleep_.store(1);
            if (!has_work(std::memory_order_seq_cst)) sleep_while(calls_, seen);
            continue;
        }
        const int done = work(thread);
        if (!done) continue;
        finished_.fetch_add((uint32_t)done);
        if (caller_sleeps_.load()) wake_all(finished_);
    }
}

}  // namespace nutshell
