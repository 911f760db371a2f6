// A team of threads that takes chunks of work one by one.
#pragma once
#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace nutshell {

// The calling thread works too, and never waits for a worker that has not begun a chunk: with a busy foreign process on a
// core, the worker that shares it is simply not there. A waiting thread spins for a moment and then sleeps, so that the
// scheduler can move a worker that was interrupted within a chunk to the core that fell idle.
class Pool {
  public:
    explicit Pool(int threads);
    ~Pool();
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    int threads() const { return (int)workers_.size() + 1; }

    // Calls f(chunk, thread) for each chunk 0..count-1, each once, and returns when all are done; what they wrote is seen.
    // `thread` (0..threads()-1) tells who calls. f must not throw. One caller at a time.
    template <class F> void run(int count, F&& f) {
        run(count, [](void* context, int chunk, int thread) { (*(std::remove_reference_t<F>*)context)(chunk, thread); }, (void*)&f);
    }

  private:
    using Function = void (*)(void* context, int chunk, int thread);
    void run(int count, Function function, void* context);
    void share(int first, int count, Function function, void* context);
    int work(int thread);
    void serve(int thread);
    bool has_work(std::memory_order order) const;

    std::vector<std::thread> workers_;
    // What is being done; written only while no chunk is taken, read only by who has taken one.
    Function function_ = nullptr;
    void* context_ = nullptr;
    int first_ = 0;
    // The next chunk to take: number of the run (24 bits), its chunks (20 bits), the next one (20 bits), in one word, so
    // that a thread that comes late cannot take a chunk of a run that it has not seen.
    alignas(64) std::atomic<uint64_t> ticket_{0};
    alignas(64) std::atomic<uint32_t> finished_{0};  // chunks that workers have done in this run
    std::atomic<uint32_t> caller_sleeps_{0};
    alignas(64) std::atomic<uint32_t> calls_{0};     // changes when sleeping workers are called
    std::atomic<uint32_t> workers_sleep_{0};
    std::atomic<uint32_t> stopping_{0};
};

}  // namespace nutshell
