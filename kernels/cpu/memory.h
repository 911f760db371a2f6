// Memory that starts at a cache line and is not initialised.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#ifdef _WIN32
#include <malloc.h>
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

// Zeros at a cache line; pages that were never written cost nothing.
class ZeroMemory {
  public:
    ZeroMemory() = default;
    ZeroMemory(const ZeroMemory&) = delete;
    ZeroMemory& operator=(const ZeroMemory&) = delete;
    ~ZeroMemory() { std::free(start_); }

    char* make(size_t bytes) {
        std::free(start_);
        start_ = static_cast<char*>(std::calloc(bytes + 64, 1));
        if (!start_) throw std::bad_alloc();
        bytes_ = bytes;
        return start_ + (64 - reinterpret_cast<uintptr_t>(start_) % 64) % 64;
    }
    size_t bytes() const { return bytes_; }

  private:
    char* start_ = nullptr;
    size_t bytes_ = 0;
};

}  // namespace nutshell
