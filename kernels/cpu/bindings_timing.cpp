// Loops that are timed without Python between: for `nutshell bench kernels`.
#include <atomic>
#include <chrono>

#include "bindings.h"
#include "pool.h"
#include "shares.h"

namespace nutshell {
namespace {

// Seconds of f(piece) for pieces 0 .. count - 1, `rounds` times over. Pieces are timed one by one, because an undisturbed
// millisecond is found on a busy machine where an undisturbed second is not; threads stay awake from one to the next.
template <class F> nb::list seconds_of(int rounds, int count, F&& f) {
    std::vector<double> seconds;
    {
        nb::gil_scoped_release release;
        for (int i = 0; i < rounds * count; i++) {
            const auto start = std::chrono::steady_clock::now();
            f(i % count);
            seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
        }
    }
    nb::list list;
    for (double s : seconds) list.append(s);
    return list;
}

// Reading `buffer` in pieces of so many bytes, by threads that take 256 KB at a time.
nb::list stream_seconds(const std::string& name, In<uint8_t> buffer, size_t piece, int threads, int rounds) {
    const Level& level = level_named(name);
    if (!level.stream_read) not_implemented(level, "stream_read");
    constexpr size_t kChunk = 1 << 18;
    const int chunks = (int)(piece / kChunk);
    if (chunks < 1 || buffer.size() < piece) throw std::invalid_argument("A piece has 256 KB at least, and the buffer a piece.");
    std::atomic<uint32_t> sink{0};
    Pool pool(threads);
    return seconds_of(rounds, (int)(buffer.size() / piece), [&](int at) {
        pool.run(chunks, [&](int chunk, int) {
            sink.fetch_xor(level.stream_read(buffer.data() + (size_t)at * piece + (size_t)chunk * kChunk, kChunk));
        });
    });
}

std::vector<const PyLinear*> weights_of(const nb::list& list) {
    std::vector<const PyLinear*> weights;
    for (nb::handle item : list) weights.push_back(nb::cast<const PyLinear*>(item));
    if (weights.empty()) throw std::invalid_argument("No weights.");
    return weights;
}

// The whole linear (activations, tables, kernel, result) with each of the weights in turn; a piece is `batch` of them.
nb::list linear_seconds(const nb::list& list, In<float> x, Out<float> y, int batch, int threads, int regime, int rounds) {
    const std::vector<const PyLinear*> weights = weights_of(list);
    Pool pool(threads);
    Workspace workspace;
    std::vector<LinearGroup> groups;
    for (const PyLinear* w : weights) groups.push_back(LinearGroup(*w->level, {&w->weight}));
    const LinearTarget target{y.data(), (int)y.shape(1), false};
    return seconds_of(rounds, (int)weights.size() / batch, [&](int at) {
        for (int w = at * batch; w < (at + 1) * batch; w++)
            groups[(size_t)w].run(workspace, pool, x.data(), (int)x.shape(0), &target, (Regime)regime, false);
    });
}

// Slices (types.h), which make their tables themselves; each thread has neighbouring ones, as in linear.cpp.
nb::list slice_seconds(const std::vector<const PyLinear*>& weights, const Activations& a, int units, int batch, Pool& pool, int rounds) {
    const LinearOps& ops = *weights[0]->level->linear[(int)weights[0]->weight.scheme];
    const size_t floats = ops.slice_floats(weights[0]->weight, a.n);
    std::vector<Memory> sums((size_t)pool.threads());
    for (Memory& memory : sums) memory.grow(floats * sizeof(float));
    std::vector<int> ends;
    for (int t = 1; t <= pool.threads(); t++) ends.push_back((int)((int64_t)units * batch * t / pool.threads()));
    Shares shares;
    return seconds_of(rounds, (int)weights.size() / batch, [&](int at) {
        const auto weight = [&](int unit) -> const Weight& { return weights[(size_t)(at * batch + unit / units)]->weight; };
        shares.begin(ends);
        pool.run(units * batch, [&](int, int thread) {
            bool own;
            const int unit = shares.take(thread, &own), first = thread ? ends[(size_t)thread - 1] : 0, last = ends[(size_t)thread] - 1;
            const Neighbours by{own && unit > first, own && unit < last ? ops.slice_data(weight(unit + 1), (unit + 1) % units) : nullptr};
            ops.slice_sums(weight(unit), a, unit % units, by, (float*)sums[(size_t)thread].data());
        });
    });
}

// The decode kernel alone: activations are made before, and so are tables where tiles share them; all tiles or slices of
// `batch` weights are one piece. The weights must hold the same codebooks, because the tables of the first serve all.
nb::list gemv_seconds(const nb::list& list, const nb::dict& prepared, int batch, int threads, int rounds) {
    const std::vector<const PyLinear*> weights = weights_of(list);
    const Weight& first = weights[0]->weight;
    const LinearOps& ops = *weights[0]->level->linear[(int)first.scheme];
    const auto f32 = nb::cast<In<float>>(prepared["f32"]), scale = nb::cast<In<float>>(prepared["scale"]),
               f32_sum16 = nb::cast<In<float>>(prepared["f32_sum16"]);
    const auto q = nb::cast<In<int16_t>>(prepared["q"]);
    const auto hi = nb::cast<In<int8_t>>(prepared["hi"]), lo = nb::cast<In<int8_t>>(prepared["lo"]);
    const auto sum16 = nb::cast<In<int32_t>>(prepared["sum16"]);
    const int n = (int)q.shape(0);
    const Activations a{n, first.in, (int32_t)q.shape(1), f32.data(), q.data(), hi.data(), lo.data(), scale.data(), sum16.data(),
                        f32_sum16.data()};
    Pool pool(threads);
    if (const int units = ops.slice_units ? ops.slice_units(first) : 0) return slice_seconds(weights, a, units, batch, pool, rounds);
    Memory tables;
    const size_t table_bytes = ops.table_bytes ? ops.table_bytes(first, n) : 0;
    if (table_bytes) {
        tables.grow(table_bytes);
        for (int part = 0; part < ops.table_parts(first, n); part++) ops.build_tables(first, a, part, tables.data());
    }
    std::vector<Memory> results((size_t)threads);
    const int tiles = ops.tile_count(first);
    return seconds_of(rounds, (int)weights.size() / batch, [&](int at) {
        pool.run(tiles * batch, [&](int chunk, int thread) {
            float* y = results[(size_t)thread].as<float>((size_t)kMaxGemvRows * kMaxTileRows);
            ops.gemv(weights[(size_t)(at * batch + chunk / tiles)]->weight, a, table_bytes ? tables.data() : nullptr, chunk % tiles,
                     y, kMaxTileRows);
        });
    });
}

}  // namespace

void bind_timing(nb::module_& m) {
    m.def("stream_seconds", stream_seconds);
    m.def("linear_seconds", linear_seconds);
    m.def("gemv_seconds", gemv_seconds);
}

}  // namespace nutshell
