// Sleeping until a word changes, and waking who sleeps: futex on Linux, elsewhere one mutex and condition for all.
#pragma once
#include <atomic>
#include <cstdint>

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#else
#include <condition_variable>
#include <mutex>
#endif

namespace nutshell {

#if defined(__linux__)

// Returns at once when the word is not `seen` any more; may return without reason.
inline void sleep_while(std::atomic<uint32_t>& word, uint32_t seen) {
    syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
}

inline void wake_all(std::atomic<uint32_t>& word) {
    syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

#else

struct Bed {
    std::mutex mutex;
    std::condition_variable changed;
    static Bed& shared() {
        static Bed bed;
        return bed;
    }
};

inline void sleep_while(std::atomic<uint32_t>& word, uint32_t seen) {
    Bed& bed = Bed::shared();
    std::unique_lock<std::mutex> lock(bed.mutex);
    bed.changed.wait(lock, [&] { return word.load() != seen; });
}

inline void wake_all(std::atomic<uint32_t>&) {
    Bed& bed = Bed::shared();
    { std::lock_guard<std::mutex> lock(bed.mutex); }  // who has looked at the word is asleep now
    bed.changed.notify_all();
}

#endif

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(_M_X64)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");  // `yield` does nothing on most cores
#endif
}

}  // namespace nutshell
