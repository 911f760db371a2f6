// Codes of vectors under additive codebooks, by beam search over the codebooks in their order: the packer's hot spot.
#pragma once
#include <cstdint>
#include <cstring>

namespace nutshell::NUTSHELL_LEVEL {
namespace nearest {

struct Beam {
    float error;  // |x - sum of codewords|^2
    float rest[16];
    uint8_t codes[8];
};

struct Candidate {
    float error;
    uint8_t beam, code;
};

// For each lane, the least |rest - c|^2 over the codewords of that lane, with the number of the chunk of 16 codewords in
// the low bits of the float: errors are then off by at most 2^-19 of themselves, far below what a codebook can express.
template <int G> F lane_minima(const float* rest, const float* book, const float* norms, int entries) {
    F twice[G], square = F::zero();
    for (int i = 0; i < G; i++) {
        twice[i] = F::set1(-2.0f * rest[i]);
        square = fma(F::set1(rest[i]), F::set1(rest[i]), square);
    }
    F best = F::set1(3.0e38f);
    const I keep = I::set1(~15);
    for (int chunk = 0; chunk < entries / 16; chunk++) {
        F error = square + F::load(norms + 16 * chunk);
        for (int i = 0; i < G; i++) error = fma(twice[i], F::load(book + i * entries + 16 * chunk), error);
        error = max(error, F::zero());  // rounding; positive floats sort as their bits do
        best = min(best, bits_to_float((float_to_bits(error) & keep) | I::set1(chunk)));
    }
    return best;
}

// Puts the candidates of one beam among the `count` best so far (ascending), of which at most `width` are kept.
inline int insert(F minima, uint8_t beam, Candidate* best, int count, int width) {
    const float least = -largest(F::zero() - minima);
    if (count == width && least >= best[count - 1].error) return count;  // mostly so behind the first beams
    float errors[16];
    uint32_t bits[16];
    minima.store(errors);
    float_to_bits(minima).store(bits);
    if (width == 1) {  // one branch instead of sixteen that nobody can predict
        int lane = 0;
        while (lane < 15 && errors[lane] != least) lane++;
        best[0] = {least, beam, (uint8_t)(16 * (bits[lane] & 15) + (uint32_t)lane)};
        return 1;
    }
    for (int lane = 0; lane < 16; lane++) {
        if (count == width && errors[lane] >= best[count - 1].error) continue;
        int at = count < width ? count++ : count - 1;
        for (; at > 0 && best[at - 1].error > errors[lane]; at--) best[at] = best[at - 1];
        best[at] = {errors[lane], beam, (uint8_t)(16 * (bits[lane] & 15) + (uint32_t)lane)};
    }
    return count;
}

template <int G> void search(const NearestArgs& a, int first, int n) {
    for (int v = first; v < first + n; v++) {
        Beam beams[2][kMaxBeam];
        int count = 1;
        std::memcpy(beams[0][0].rest, a.x + (size_t)v * G, G * sizeof(float));
        for (int k = 0; k < a.num_codebooks; k++) {
            const float* book = a.books + (size_t)k * G * a.entries;
            const Beam* from = beams[k & 1];
            Beam* to = beams[(k + 1) & 1];
            Candidate best[kMaxBeam];
            int found = 0, width = k + 1 < a.num_codebooks ? a.beam : 1;
            for (int b = 0; b < count; b++)
                found = insert(lane_minima<G>(from[b].rest, book, a.norms + (size_t)k * a.entries, a.entries), (uint8_t)b,
                               best, found, width);
            for (int b = 0; b < found; b++) {
                to[b] = from[best[b].beam];
                to[b].error = best[b].error;
                to[b].codes[k] = best[b].code;
                for (int i = 0; i < G; i++) to[b].rest[i] -= book[i * a.entries + best[b].code];
            }
            count = found;
        }
        const Beam& winner = beams[a.num_codebooks & 1][0];
        std::memcpy(a.codes + (size_t)v * (size_t)a.num_codebooks, winner.codes, (size_t)a.num_codebooks);
        a.errors[v] = winner.error;
    }
}

}  // namespace nearest

inline void nearest_codes(const NearestArgs& a, int first, int n) {
    if (a.group == 8)
        nearest::search<8>(a, first, n);
    else
        nearest::search<16>(a, first, n);
}

}  // namespace nutshell::NUTSHELL_LEVEL
