#include "stream.h"

#include <algorithm>
#include <stdexcept>
#ifdef _WIN32
#define NOMINMAX
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#endif

namespace nutshell {

#ifdef _WIN32

namespace {

[[noreturn]] void fail() { throw std::runtime_error("error " + std::to_string(GetLastError())); }

}  // namespace

DirectFile::DirectFile(const std::string& path) {
    std::wstring wide((size_t)MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, nullptr, 0), L'\0');
    MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, wide.data(), (int)wide.size());
    const DWORD share = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    HANDLE file = CreateFileW(wide.c_str(), GENERIC_READ, share, nullptr, OPEN_EXISTING, FILE_FLAG_NO_BUFFERING, nullptr);
    direct_ = file != INVALID_HANDLE_VALUE;
    if (!direct_) file = CreateFileW(wide.c_str(), GENERIC_READ, share, nullptr, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr);
    if (file == INVALID_HANDLE_VALUE) fail();
    file_ = (intptr_t)file;
    opened_ = state();
}

DirectFile::~DirectFile() { CloseHandle((HANDLE)file_); }

size_t DirectFile::read(void* to, size_t bytes, uint64_t from) const {
    size_t done = 0;
    while (done < bytes) {
        OVERLAPPED at{};
        at.Offset = (DWORD)(from + done);
        at.OffsetHigh = (DWORD)((from + done) >> 32);
        DWORD got = 0;
        if (!ReadFile((HANDLE)file_, (char*)to + done, (DWORD)(bytes - done), &got, &at)) {
            if (GetLastError() == ERROR_HANDLE_EOF) break;
            fail();
        }
        if (!got) break;
        done += got;
        if (got % kAlignment) break;
    }
    return done;
}

DirectFile::State DirectFile::state() const {
    BY_HANDLE_FILE_INFORMATION found;
    if (!GetFileInformationByHandle((HANDLE)file_, &found)) return {};
    return {((uint64_t)found.nFileSizeHigh << 32) | found.nFileSizeLow,
            (int64_t)(((uint64_t)found.ftLastWriteTime.dwHighDateTime << 32) | found.ftLastWriteTime.dwLowDateTime), 0};
}

#else

namespace {

[[noreturn]] void fail() { throw std::runtime_error(std::strerror(errno)); }

}  // namespace

DirectFile::DirectFile(const std::string& path) {
#if defined(O_DIRECT)
    file_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
    direct_ = file_ >= 0;
#endif
    if (file_ < 0) file_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file_ < 0) fail();
#if defined(F_NOCACHE)
    direct_ = fcntl((int)file_, F_NOCACHE, 1) == 0;
#endif
    opened_ = state();
}

DirectFile::~DirectFile() { close((int)file_); }

size_t DirectFile::read(void* to, size_t bytes, uint64_t from) const {
    size_t done = 0;
    while (done < bytes) {
        const ssize_t got = pread((int)file_, (char*)to + done, bytes - done, (off_t)(from + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail();
        done += (size_t)got;
        if (!got || got % (ssize_t)kAlignment) break;  // the end: a direct read goes on at whole sectors only
    }
    return done;
}

DirectFile::State DirectFile::state() const {
    struct stat found;
    if (fstat((int)file_, &found)) return {};
#ifdef __APPLE__
    return {(uint64_t)found.st_size, (int64_t)found.st_mtimespec.tv_sec, (int64_t)found.st_mtimespec.tv_nsec};
#else
    return {(uint64_t)found.st_size, (int64_t)found.st_mtim.tv_sec, (int64_t)found.st_mtim.tv_nsec};
#endif
}

#endif

bool DirectFile::changed() const {
    const State now = state();
    return now.size != opened_.size || now.time != opened_.time || now.part != opened_.part;
}

Stream::Stream(const std::string& path, std::vector<Piece> pieces, std::vector<int> behind, int depth, double rate)
    : file_(path), pieces_(std::move(pieces)), behind_(std::move(behind)), count_(behind_.size()), done_(behind_.size()),
      rate_(rate) {
    for (const Piece& piece : pieces_) count_[(size_t)piece.block]++;
    for (int i = 0; i < std::max(depth, 1); i++) threads_.emplace_back([this] { read_on(); });
}

Stream::~Stream() {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        quit_ = true;
    }
    work_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

// With the lock: the next piece's place is free.
bool Stream::may_read() const {
    if (held_ || !failure_.empty()) return false;
    const size_t blocks = behind_.size();
    const size_t block = (size_t)pieces_[next_ % pieces_.size()].block;
    const uint64_t number = next_ / pieces_.size() * blocks + block;
    return released_ + (uint64_t)behind_[block] > number;
}

void Stream::read_on() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
        work_.wait(lock, [&] { return quit_ || may_read(); });
        if (quit_) return;
        const Piece& piece = pieces_[next_++ % pieces_.size()];
        Clock::time_point start = Clock::now();
        if (!under_way_++) busy_since_ = start;
        Clock::time_point end{};
        if (rate_ > 0) {
            free_ = std::max(free_, start) + std::chrono::duration_cast<Clock::duration>(
                                                 std::chrono::duration<double>((double)piece.bytes / rate_));
            end = free_;
        }
        lock.unlock();
        std::string failure;
        try {
            if (file_.read(piece.to, piece.bytes, piece.from) < piece.need) failure = "the file is shorter than it was";
        } catch (const std::exception& error) {
            failure = error.what();
        }
        lock.lock();
        while (!quit_ && end > Clock::now()) work_.wait_until(lock, end);
        const Clock::time_point now = Clock::now();
        if (!--under_way_) counts_.busy_s += std::chrono::duration<double>(now - busy_since_).count();
        counts_.bytes += piece.bytes;
        if (!failure.empty() && failure_.empty()) failure_ = failure;
        const bool whole = ++done_[(size_t)piece.block] == count_[(size_t)piece.block];
        if (whole || !failure_.empty() || (held_ && !under_way_)) there_.notify_all();
    }
}

void Stream::begin() {
    if (file_.changed()) throw std::runtime_error("the file has changed");
    std::unique_lock<std::mutex> lock(mutex_);
    if (failure_.empty() && released_ % behind_.size() == 0) return;
    held_ = true;
    there_.wait(lock, [&] { return !under_way_; });
    held_ = false;
    failure_.clear();
    next_ = released_ = 0;
    std::fill(done_.begin(), done_.end(), 0);
    lock.unlock();
    work_.notify_all();
}

bool Stream::wait(int block, const std::atomic<bool>& abort) {
    const size_t at = (size_t)block;
    std::unique_lock<std::mutex> lock(mutex_);
    const auto ends = [&] { return done_[at] == count_[at] || !failure_.empty() || abort.load(); };
    if (!ends()) {
        const Clock::time_point start = Clock::now();
        there_.wait(lock, ends);
        counts_.waited_s += std::chrono::duration<double>(Clock::now() - start).count();
    }
    if (!failure_.empty()) throw std::runtime_error(failure_);
    return done_[at] == count_[at];
}

void Stream::release(int block) {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        done_[(size_t)block] = 0;
        released_++;
    }
    work_.notify_all();
}

void Stream::wake() {
    { std::lock_guard<std::mutex> lock(mutex_); }
    there_.notify_all();
}

void Stream::limit(double rate) {
    std::lock_guard<std::mutex> lock(mutex_);
    rate_ = rate;
    free_ = Clock::now();
}

Stream::Counts Stream::counts() {
    std::lock_guard<std::mutex> lock(mutex_);
    Counts now = counts_;
    if (under_way_) now.busy_s += std::chrono::duration<double>(Clock::now() - busy_since_).count();
    return now;
}

}  // namespace nutshell
