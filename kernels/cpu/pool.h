// A team of threads that takes chunks of work one by one.
#pragma once
#include <type_traits>


namespace nutshell {

class Pool {
  public:
    explicit Pool(int threads) : threads_(threads < 1 ? 1 : threads) {}
    int threads() const { return threads_; }

    // Calls f(chunk, thread) for each chunk 0..count-1, each once, and returns when all are done.
    template <class F> void run(int count, F&& f) {
        run(count, [](void* context, int chunk, int thread) { (*(std::remove_reference_t<F>*)context)(chunk, thread); }, (void*)&f);
    }

  private:
    using Function = void (*)(void* context, int chunk, int thread);
    void run(int count, Function function, void* context);
    int threads_;
};

}  // namespace nutshell
