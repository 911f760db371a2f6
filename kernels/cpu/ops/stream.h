// Reading memory as fast as it goes: what the decode kernels are measured against.
#pragma once
#include <cstddef>
#include <cstdint>

namespace nutshell::NUTSHELL_LEVEL {

inline uint32_t stream_read(const void* p, size_t bytes) {
    const char* from = (const char*)p;
    I a = I::zero(), b = a, c = a, d = a;
    for (size_t at = 0; at + 256 <= bytes; at += 256) {
        a = a ^ I::load(from + at);
        b = b ^ I::load(from + at + 64);
        c = c ^ I::load(from + at + 128);
        d = d ^ I::load(from + at + 192);
    }
    uint32_t lanes[16], all = 0;
    ((a ^ b) ^ (c ^ d)).store(lanes);
    for (uint32_t lane : lanes) all ^= lane;
    return all;
}

}  // namespace nutshell::NUTSHELL_LEVEL
