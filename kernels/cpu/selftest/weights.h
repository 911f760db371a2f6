// Random weights of every scheme, each buffer exactly as long as layout.md says: a sanitizer sees a read past its end.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "memory.h"
#include "simd/float16.h"
#include "types.h"

namespace nutshell {

struct Dice {
    std::mt19937 engine{1};
    float number() { return std::normal_distribution<float>()(engine); }
    int below(int n) { return (int)(engine() % (unsigned)n); }
};

struct Shape {
    const char* name;
    Scheme scheme;
    int out, in, group_size, bits, num_codebooks;
    bool perm, bias;
};

struct RandomWeight {
    Weight w{};
    Memory derived;

    RandomWeight(const Shape& shape, const Level& scalar, Dice& dice) : w{} {
        w.scheme = shape.scheme;
        w.out = shape.out;
        w.in = shape.in;
        w.group_size = shape.group_size;
        w.bits = shape.bits;
        w.num_codebooks = shape.num_codebooks;
        const int unit = std::max(32, shape.group_size);
        w.in_padded = (w.in + unit - 1) / unit * unit;
        const size_t panels = (size_t)(w.out + 15) / 16, rows64 = (size_t)(w.out + 63) / 64 * 64, in = (size_t)w.in_padded;
        if (shape.bias) w.bias = fill<float>((size_t)w.out, [&] { return dice.number(); });
        if (shape.perm) {
            uint32_t next = 0;
            uint32_t* perm = fill<uint32_t>((size_t)w.in, [&] { return next++; });
            std::shuffle(perm, perm + w.in, dice.engine);
            w.perm = perm;
        }
        const auto byte = [&] { return (uint8_t)dice.engine(); };
        const auto small = [&] { return f32_to_f16(0.002f + 0.01f * (float)dice.below(100) / 100); };
        const size_t numbers = panels * in * 16;
        switch (w.scheme) {
            case Scheme::f32: w.data = fill<float>(numbers, [&] { return dice.number(); }); break;
            case Scheme::f16: w.data = fill<uint16_t>(numbers, [&] { return f32_to_f16(dice.number()); }); break;
            case Scheme::bf16: w.data = fill<uint16_t>(numbers, [&] { return (uint16_t)(0x3C00 + dice.below(0x180) + (dice.below(2) << 15)); }); break;
            case Scheme::q8:
                w.data = fill<int8_t>(numbers, [&] { return (int8_t)(dice.below(255) - 127); });
                w.scales = fill<uint16_t>(numbers / (size_t)w.group_size, small);
                break;
            case Scheme::q4:
                w.data = fill<uint8_t>(numbers / 2, byte);
                w.scales = fill<uint16_t>(numbers / (size_t)w.group_size, small);
                break;
            case Scheme::spqr: spqr(dice, panels, in); break;
            case Scheme::aqlm: {
                const size_t codes = rows64 * (in / (size_t)w.group_size) * (size_t)w.num_codebooks;
                const unsigned mask = (1u << w.bits) - 1;
                if (w.bits <= 8) w.data = fill<uint8_t>(codes, [&] { return (uint8_t)(dice.engine() & mask); });
                else w.data = fill<uint16_t>(codes, [&] { return (uint16_t)(dice.engine() & mask); });
                w.codebooks = fill<uint16_t>((size_t)w.num_codebooks * (mask + 1) * (size_t)w.group_size, [&] { return f32_to_f16(dice.number()); });
                w.scales = fill<uint16_t>(rows64, small);
                break;
            }
        }
        if (w.scheme != Scheme::f32 && w.scheme != Scheme::aqlm) bound_rows(scalar, rows64);
    }

    // The integers that a level makes of it; call before use.
    void derive(const LinearOps& ops) {
        w.derived = nullptr;
        if (!ops.derived_bytes || !ops.derived_bytes(w)) return;
        void* made = derived.grow(ops.derived_bytes(w));
        ops.derive(w, made);
        w.derived = made;
    }

  private:
    template <class T, class Make> T* fill(size_t count, Make make) {
        void* memory = nullptr;
        if (posix_memalign(&memory, 64, std::max<size_t>(count * sizeof(T), 1))) throw std::bad_alloc();
        kept_.emplace_back(memory, &std::free);
        T* data = static_cast<T*>(memory);
        for (size_t i = 0; i < count; i++) data[i] = (T)make();
        return data;
    }
    void spqr(Dice& dice, size_t panels, size_t in) {
        const size_t tiles = panels * in / 16;
        w.data = fill<uint8_t>(panels * in * 16 * (size_t)w.bits / 8, [&] { return (uint8_t)dice.engine(); });
        w.levels = fill<uint16_t>(tiles * 6, [&] { return (uint16_t)dice.engine(); });
        int field = 0;  // ss, sz, zs, zz: w = ss (cs - zs) * (q - sz (cz - zz))
        w.scales = fill<uint16_t>(tiles * 4, [&] {
            constexpr float kSizes[4] = {0.005f, 1.0f, 4.0f, 4.0f};
            return f32_to_f16(kSizes[field++ % 4] * (0.5f + (float)dice.below(100) / 100));
        });
        std::vector<std::vector<uint16_t>> lanes;  // columns, by run and lane
        int32_t* steps = fill<int32_t>(2 * panels + 1, [] { return 0; });
        for (size_t run = 0; run < 2 * panels; run++) {
            size_t most = 0;
            for (int lane = 0; lane < 16; lane++) {
                lanes.emplace_back();
                // no weight has two: even columns in the first run, in the second odd ones, other ones in every lane
                if (run % 2 == 0)
                    for (int column = 2 * dice.below(20); column < w.in; column += 2 + 2 * dice.below(20))
                        lanes.back().push_back((uint16_t)column);
                else
                    for (int column = 2 * lane + 1; column < w.in; column += 32)
                        if (dice.below(3)) lanes.back().push_back((uint16_t)column);
                most = std::max(most, lanes.back().size());
            }
            if (run % 4 == 1) most = 0;  // and every other panel has none
            steps[run + 1] = steps[run] + (int32_t)most;
        }
        size_t word = 0, run = 0;
        w.outlier_steps = steps;
        w.outlier_lanes = fill<uint8_t>(panels * 16, [&] { return (uint8_t)dice.below(16); });
        w.outliers = fill<uint16_t>((size_t)steps[2 * panels] * 32, [&] {
            const size_t step = word / 32, lane = word % 16, value = word++ / 16 % 2;
            while ((int32_t)step >= steps[run + 1]) run++;
            const std::vector<uint16_t>& columns = lanes[run * 16 + lane];
            const size_t at = step - (size_t)steps[run];
            if (value) return at < columns.size() ? f32_to_f16(0.3f * dice.number()) : (uint16_t)0;
            return at < columns.size() ? columns[at] : columns.empty() ? (uint16_t)0 : columns.back();
        });
    }
    void bound_rows(const Level& scalar, size_t rows64) {
        const LinearOps& ops = *scalar.linear[(int)w.scheme];
        float* bound = fill<float>(rows64, [] { return 0; });
        std::vector<float> panel((size_t)kPanelRows * (size_t)w.in_padded);
        for (int first = 0; first < w.out; first += kPanelRows) {
            ops.panel_f32(w, first, 0, w.in_padded, panel.data());
            for (int row = 0; row < kPanelRows; row++)
                for (int k = 0; k < w.in_padded; k++)
                    bound[first + row] = std::max(bound[first + row], std::fabs(panel[(size_t)(row / 16 * w.in_padded + k) * 16 + (size_t)(row % 16)]));
        }
        w.row_max = bound;
    }
    std::vector<std::unique_ptr<void, void (*)(void*)>> kept_;
};

}  // namespace nutshell
