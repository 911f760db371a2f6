// Weights that are read from the disk while the program runs, past the system's cache, into memory that they share in turns.
#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace nutshell {

// A file that is read directly: O_DIRECT, F_NOCACHE or FILE_FLAG_NO_BUFFERING; where a file system refuses, as any other.
class DirectFile {
  public:
    static constexpr size_t kAlignment = 4096;  // of places, sizes and memory: every disk's sectors divide it

    explicit DirectFile(const std::string& path);  // UTF-8. std::runtime_error where it cannot be opened.
    DirectFile(const DirectFile&) = delete;
    DirectFile& operator=(const DirectFile&) = delete;
    ~DirectFile();

    // Bytes read, fewer than `bytes` only at the end of the file. Any thread. std::runtime_error.
    size_t read(void* to, size_t bytes, uint64_t from) const;
    bool direct() const { return direct_; }
    bool changed() const;  // it was written to, or cut, since it was opened

  private:
    struct State {
        uint64_t size = 0;
        int64_t time = 0, part = 0;
    };
    State state() const;
    intptr_t file_ = -1;
    bool direct_ = false;
    State opened_;
};

// Blocks that every pass reads in the same order. Each has one place in the ring, which others use before and after it.
class Stream {
  public:
    // One read. `need`: bytes that must come (the rest of it lies behind the end of the file).
    struct Piece {
        uint64_t from;
        char* to;
        size_t bytes, need;
        int block;
    };
    struct Counts {
        uint64_t bytes = 0;  // read
        double busy_s = 0;   // at least one read was under way
        double waited_s = 0;  // a pass stood still for its weights
    };

    // `pieces`: ascending by block. `behind[b]`: so many blocks before b, counted in a circle, is the last one that lies on
    // b's place. `depth`: reads at a time. `rate`: bytes a second at most, 0: as fast as the disk.
    Stream(const std::string& path, std::vector<Piece> pieces, std::vector<int> behind, int depth, double rate);
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    ~Stream();

    // A pass begins; what was read ahead for it stays, unless the last one was given up. std::runtime_error: the file has
    // changed.
    void begin();
    // Until the block is there; false: `abort` was set. std::runtime_error: it cannot be read.
    bool wait(int block, const std::atomic<bool>& abort);
    void release(int block);
    void wake();  // who waits looks at its `abort` again
    bool direct() const { return file_.direct(); }
    void limit(double rate);
    Counts counts();

  private:
    using Clock = std::chrono::steady_clock;
    void read_on();
    bool may_read() const;

    DirectFile file_;
    const std::vector<Piece> pieces_;
    const std::vector<int> behind_;
    std::vector<int> count_, done_;  // pieces by block
    std::mutex mutex_;
    std::condition_variable work_, there_;
    uint64_t next_ = 0, released_ = 0;  // pieces and blocks since the last restart
    int under_way_ = 0;
    bool quit_ = false, held_ = false;
    std::string failure_;
    double rate_;
    Clock::time_point free_{}, busy_since_{};
    Counts counts_;
    std::vector<std::thread> threads_;
};

}  // namespace nutshell
