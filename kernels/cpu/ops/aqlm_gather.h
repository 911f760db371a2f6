// AQLM without tables (codes longer than a byte, more than 16 codebooks), decode regime: entries are read where the codebook
// lies and multiplied in float32, 16 inputs of a row at a time. The codebook of 1x16 has 1 MB, all of an L2: with one of
// 64 KB it is 1.6 times as fast (Zen 4). Included by aqlm.h.
#pragma once

namespace nutshell::NUTSHELL_LEVEL {
namespace aqlm {

#if defined(NUTSHELL_AVX512)
constexpr int kGatherSums = 8;  // that stay in registers
#else
constexpr int kGatherSums = 4;
#endif

// Of one row, from the code on; `next` is where the code of the next group lies.
template <int G, class Code>
inline F entries_of(const uint16_t* book, const Code* code, size_t next, size_t mask) {
    // a code past the end would be a damaged file: it must not read past the codebook
    const uint16_t* first = book + ((size_t)code[0] & mask) * G;
    if constexpr (G == 16) return F::load_f16(first);
    else return F::load_f16(first, book + ((size_t)code[next] & mask) * G);
}

// Adds a block's dot products of some rows of a chunk with N rows of activations to y[n * ldy + row].
template <int G, int N, class Code>
inline void gather_rows(const Weight& w, const Shape& s, const Code* codes, int chunk_rows, int groups, const float* x, int stride, float* y, int ldy) {
    constexpr int kTogether = kGatherSums / N;
    const size_t mask = (size_t)s.entries - 1;
    const size_t next = (size_t)s.books * (size_t)chunk_rows;
    F acc[kTogether][N];
    for (int i = 0; i < kTogether; i++)
        for (int n = 0; n < N; n++) acc[i][n] = F::zero();
    for (int g = 0; g < groups; g += 16 / G) {
        F inputs[N];
        for (int n = 0; n < N; n++) inputs[n] = F::load(x + (size_t)n * (size_t)stride + g * G);
        for (int book = 0; book < s.books; book++) {
            const Code* code = codes + (size_t)g * next + (size_t)book * (size_t)chunk_rows;
            const uint16_t* entries = w.codebooks + (size_t)book * (size_t)s.entries * G;
            for (int i = 0; i < kTogether; i++) {
                const F numbers = entries_of<G, Code>(entries, code + i, next, mask);
                for (int n = 0; n < N; n++) acc[i][n] = fma(numbers, inputs[n], acc[i][n]);
            }
        }
    }
    for (int n = 0; n < N; n++)
        for (int i = 0; i < kTogether; i++) y[(size_t)n * (size_t)ldy + i] += sum(acc[i][n]);
}

// Fetches `bytes` from p on; null: nothing.
inline void fetch_codes(const uint8_t* p, size_t bytes) {
#if defined(__GNUC__)
    if (p)
        for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + i);
#else
    (void)p, (void)bytes;
#endif
}

// All rows of a tile with N rows of activations. While a chunk is computed the next one is fetched.
template <int G, int N, class Code>
inline void gather_tile(const Weight& w, const Shape& s, const float* x, int stride, int first, int rows, float* y, int ldy) {
    constexpr int kTogether = kGatherSums / N;
    const Code* data = (const Code*)w.data;
    const int blocks = blocks_of(w), width = rows < 256 ? rows : 256;
    for (int b = 0; b < blocks; b++) {
        const int units = units_in(s, b);
        const size_t step = (size_t)units * kTogether * sizeof(Code);  // bytes of codes that some rows take
        for (int c = 0; c < rows; c += width) {
            const Code* codes = data + chunk_code(w, s, b, first + c);
            const Code* next = c + width < rows ? codes + (size_t)units * (size_t)width
                               : b + 1 < blocks ? data + chunk_code(w, s, b + 1, first)
                                                : nullptr;
            for (int i = 0; i < width; i += kTogether) {
                fetch_codes(next ? (const uint8_t*)next + (size_t)(i / kTogether) * step : nullptr, step);
                gather_rows<G, N, Code>(w, s, codes + i, width, units / s.books, x + (size_t)b * kBlock, stride, y + c + i, ldy);
            }
        }
    }
}

template <int G, class Code>
inline void gather(const Weight& w, const Activations& a, int tile, float* y, int ldy) {
    const Shape s(w);
    int first, rows;
    tile_rows(w, tile, &first, &rows);
    for (int row = 0; row < a.n; row++) std::memset(y + (size_t)row * (size_t)ldy, 0, (size_t)rows * sizeof(float));
    const auto x_of = [&](int r) { return a.f32 + (size_t)r * (size_t)a.stride; };
    const auto y_of = [&](int r) { return y + (size_t)r * (size_t)ldy; };
    int r = 0;
    for (; r + 4 <= a.n; r += 4) gather_tile<G, 4, Code>(w, s, x_of(r), a.stride, first, rows, y_of(r), ldy);
    for (; r + 2 <= a.n; r += 2) gather_tile<G, 2, Code>(w, s, x_of(r), a.stride, first, rows, y_of(r), ldy);
    for (; r < a.n; r++) gather_tile<G, 1, Code>(w, s, x_of(r), a.stride, first, rows, y_of(r), ldy);
    for (r = 0; r < a.n; r++)
        for (int i = 0; i < rows; i += 16) {
            float* to = y_of(r) + i;
            (F::load(to) * F::load_f16(w.scales + first + i)).store(to);
        }
}

inline void gemv_gather(const Weight& w, const Activations& a, int tile, float* y, int ldy) {
    const bool bytes = w.bits <= 8;
    if (w.group_size == 8) bytes ? gather<8, uint8_t>(w, a, tile, y, ldy) : gather<8, uint16_t>(w, a, tile, y, ldy);
    else bytes ? gather<16, uint8_t>(w, a, tile, y, ldy) : gather<16, uint16_t>(w, a, tile, y, ldy);
}

}  // namespace aqlm
}  // namespace nutshell::NUTSHELL_LEVEL
