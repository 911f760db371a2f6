// Memory that starts at a cache line and is not initialised.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#ifdef _WIN32
#define NOMINMAX
#define WIN32_LEAN_AND_MEAN
#include <malloc.h>
#include <windows.h>
#else
#include <sys/mman.h>
#endif

namespace nutshell {

class Memory {
  public:
    Memory() = default;
    explicit Memory(size_t bytes) { grow(bytes); }
    Memory(Memory&& other) noexcept : data_(other.data_), bytes_(other.bytes_) { other.data_ = nullptr, other.bytes_ = 0; }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    Memory& operator=(Memory&&) = delete;
    ~Memory() { release(); }

    // At least `bytes`; what was there is lost when it grows.
    void* grow(size_t bytes) {
        if (bytes > bytes_) {
            release();
            bytes = (bytes + 63) / 64 * 64;
#ifdef _WIN32
            data_ = _aligned_malloc(bytes, 64);
#else
            data_ = std::aligned_alloc(64, bytes);
#endif
            if (!data_) throw std::bad_alloc();
            bytes_ = bytes;
        }
        return data_;
    }
    template <class T> T* as(size_t count) { return static_cast<T*>(grow(count * sizeof(T))); }
    void* data() const { return data_; }
    size_t bytes() const { return bytes_; }

  private:
    void release() {
#ifdef _WIN32
        _aligned_free(data_);
#else
        std::free(data_);
#endif
        data_ = nullptr;
        bytes_ = 0;
    }
    void* data_ = nullptr;
    size_t bytes_ = 0;
};

// Zeros at a cache line; pages that were never written cost nothing. They come from the system, not from calloc: glibc takes
// its blocks for larger ones from the heap once one of 30 MB was freed, and writes the zeros there.
class ZeroMemory {
  public:
    ZeroMemory() = default;
    ZeroMemory(const ZeroMemory&) = delete;
    ZeroMemory& operator=(const ZeroMemory&) = delete;
    ~ZeroMemory() { release(); }

    char* make(size_t bytes) {
        release();
        if (!bytes) return nullptr;
#ifdef _WIN32
        void* start = VirtualAlloc(nullptr, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
        if (!start) throw std::bad_alloc();
#else
        void* start = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (start == MAP_FAILED) throw std::bad_alloc();
#endif
        start_ = static_cast<char*>(start);
        bytes_ = bytes;
        return start_;
    }
    size_t bytes() const { return bytes_; }

  private:
    void release() {
        if (!start_) return;
#ifdef _WIN32
        VirtualFree(start_, 0, MEM_RELEASE);
#else
        munmap(start_, bytes_);
#endif
        start_ = nullptr;
        bytes_ = 0;
    }
    char* start_ = nullptr;
    size_t bytes_ = 0;
};

}  // namespace nutshell
