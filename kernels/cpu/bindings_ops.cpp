// Single operations, for tests and benchmarks. Shapes are checked by kernels/cpu/__init__.py.
#include "bindings.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#define NEED(level, op) \
    if (!(level).op) not_implemented(level, #op)

namespace nutshell {
namespace {

KvLayer make_kv(Memory& memory, int cells, int heads, int head_dim, bool q8) {
    KvLayer kv{};
    kv.capacity = (cells + 15) / 16 * 16;
    kv.heads = heads;
    kv.head_dim = head_dim;
    kv.q8 = q8;
    const size_t numbers = (size_t)kv.capacity * heads * head_dim, size = q8 ? 1 : 2;
    const size_t scales = q8 ? sizeof(uint16_t) * kv.capacity * heads : 0;
    char* at = memory.as<char>(2 * (numbers * size + scales));
    for (size_t i = 0; i < memory.bytes(); i++) at[i] = (char)0xff;  // NaN
    kv.k = at;
    kv.v = at + numbers * size;
    kv.ks = (uint16_t*)(at + 2 * numbers * size);
    kv.vs = kv.ks + (size_t)kv.capacity * heads;
    return kv;
}

void linear(const PyLinear& self, In<float> x, Out<float> y, int threads, int regime, bool precise) {
    const Level& level = *self.level;
    if (const char* missing = LinearGroup::missing(level, self.weight)) not_implemented(level, missing);
    Pool pool(threads);
    Workspace workspace;
    const LinearTarget target{y.data(), (int)y.shape(1), false};
    LinearGroup(level, {&self.weight}).run(workspace, pool, x.data(), (int)x.shape(0), &target, (Regime)regime, precise);
}

void attention(const std::string& name, In<float> q, In<float> k, In<float> v, Out<float> out, int head_dim, float scale,
               int committed, In<uint64_t> mask, In<int32_t> positions, bool chain, int window, bool q8, int threads) {
    const Level& level = level_named(name);
    NEED(level, store_kv);
    NEED(level, attention_part);
    Memory memory, scratch;
    const int cells = (int)k.shape(0), width = (int)k.shape(1);
    const KvLayer kv = make_kv(memory, cells, width / head_dim, head_dim, q8);
    for (int c = 0; c < cells; c++) level.store_kv(kv, c, k.data() + (size_t)c * width, v.data() + (size_t)c * width);
    const AttentionArgs args{(int)q.shape(0), (int)q.shape(1) / head_dim, head_dim, committed, mask.data(), (int)mask.shape(1),
                             chain, window, positions.data(), scale, q.data(), out.data()};
    float* shared = scratch.as<float>(level.attention_scratch(kv, args) + 1);
    Pool pool(threads);
    pool.run(level.attention_parts(kv, args), [&](int part, int) { level.attention_part(kv, args, part, shared); });
    const int merges = level.attention_merges(kv, args);
    if (merges) pool.run(merges, [&](int unit, int) { level.attention_merge(kv, args, unit, shared); });
}

nb::tuple store_kv(const std::string& name, In<float> k, In<float> v, int head_dim, bool q8, In<int32_t> moves) {
    const Level& level = level_named(name);
    NEED(level, store_kv);
    Memory memory;
    const int cells = (int)k.shape(0), width = (int)k.shape(1);
    const KvLayer kv = make_kv(memory, cells, width / head_dim, head_dim, q8);
    for (int c = 0; c < cells; c++) level.store_kv(kv, c, k.data() + (size_t)c * width, v.data() + (size_t)c * width);
    if (moves.shape(0)) NEED(level, move_kv);
    for (size_t i = 0; i < moves.shape(0); i++) level.move_kv(kv, moves.data()[2 * i], moves.data()[2 * i + 1]);
    const size_t numbers = (size_t)kv.capacity * width * (q8 ? 1 : 2), scales = q8 ? (size_t)kv.capacity * kv.heads * 2 : 0;
    return nb::make_tuple(nb::bytes(kv.k, numbers), nb::bytes(kv.v, numbers), nb::bytes(kv.ks, scales), nb::bytes(kv.vs, scales));
}

void nearest_codes(const std::string& name, In<float> x, In<float> books, In<float> norms, int beam, Out<uint8_t> codes,
                   Out<float> errors, int threads) {
    const Level& level = level_named(name);
    NEED(level, nearest_codes);
    const NearestArgs args{(int)x.shape(1), (int)books.shape(2), (int)books.shape(0), beam, x.data(), books.data(), norms.data(),
                           codes.data(), errors.data()};
    const int n = (int)x.shape(0), unit = 256;
    nb::gil_scoped_release unlocked;
    Pool pool(threads);
    pool.run((n + unit - 1) / unit, [&](int chunk, int) {
        level.nearest_codes(args, chunk * unit, std::min(unit, n - chunk * unit));
    });
}

void quantize_columns(const std::string& name, In<float> weight, In<float> feedback, In<float> importance, int bits, float price,
                      Out<uint8_t> codes, Out<uint8_t> scale_codes, Out<uint8_t> zero_codes, Out<uint16_t> statistics,
                      Out<uint16_t> sparse, Out<float> errors, int threads) {
    const Level& level = level_named(name);
    NEED(level, quantize_columns);
    const int out = (int)weight.shape(0), in = (int)weight.shape(1);
    const ColumnArgs args{out, in, bits, price, weight.data(), feedback.data(), importance.data(), codes.data(),
                          scale_codes.data(), zero_codes.data(), statistics.data(), sparse.data(), errors.data()};
    nb::gil_scoped_release unlocked;
    Pool pool(threads);
    std::vector<Memory> scratch((size_t)pool.threads());
    for (Memory& memory : scratch) memory.as<float>(level.column_scratch(args));  // a chunk must not throw
    pool.run((out + kColumnRows - 1) / kColumnRows, [&](int chunk, int thread) {
        level.quantize_columns(args, chunk * kColumnRows, (float*)scratch[(size_t)thread].data());
    });
}

void search_block(const std::string& name, In<float> wanted, Out<float> fed, In<float> forward, const nb::object& back,
                  In<float> later, In<float> books, const nb::object& held, int beam, Out<uint8_t> codes, Out<float> left,
                  int threads) {
    const Level& level = level_named(name);
    NEED(level, search_rows);
    In<float> inverse;
    if (!back.is_none()) inverse = nb::cast<In<float>>(back);
    In<uint8_t> before;
    if (!held.is_none()) before = nb::cast<In<uint8_t>>(held);
    SearchArgs args{(int)books.shape(1), (int)forward.shape(0), (int)books.shape(2), (int)books.shape(0), beam, wanted.data(),
                    forward.data(), back.is_none() ? nullptr : inverse.data(), later.data(), books.data(),
                    held.is_none() ? nullptr : before.data(), fed.data(), left.data(), codes.data(), nullptr};
    Memory scratch(level.search_bytes(args));
    args.scratch = scratch.as<char>(level.search_bytes(args));
    const int n = (int)wanted.shape(0), unit = 32;
    nb::gil_scoped_release unlocked;
    Pool pool(threads);
    pool.run(args.groups, [&](int group, int) { level.search_prepare(args, group); });
    pool.run((n + unit - 1) / unit, [&](int chunk, int) {
        level.search_rows(args, chunk * unit, std::min(unit, n - chunk * unit));
    });
}

// seconds to read the buffer once with all threads, whole runs of 1 MB
double stream_read(const std::string& name, In<uint8_t> buffer, int threads) {
    const Level& level = level_named(name);
    NEED(level, stream_read);
    nb::gil_scoped_release unlocked;
    Pool pool(threads);
    std::atomic<uint32_t> all{0};
    const size_t unit = 1u << 20;
    const auto start = std::chrono::steady_clock::now();
    pool.run((int)(buffer.size() / unit), [&](int chunk, int) { all ^= level.stream_read(buffer.data() + chunk * unit, unit); });
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

void bind_ops(nb::module_& m) {
    m.def("linear", linear);
    m.def("attention", attention);
    m.def("store_kv", store_kv);
    m.def("prepare", [](const std::string& name, In<float> x, const nb::object& perm, Out<float> f32, Out<int16_t> q,
                        Out<int8_t> hi, Out<int8_t> lo, Out<float> scale, Out<int32_t> sum16, Out<float> f32_sum16) {
        const Level& level = level_named(name);
        NEED(level, prepare);
        In<uint32_t> order;
        if (!perm.is_none()) order = nb::cast<In<uint32_t>>(perm);
        for (int row = 0; row < (int)x.shape(0); row++)
            level.prepare(x.data(), (int)x.shape(1), (int)x.shape(1), perm.is_none() ? nullptr : order.data(), row, f32.data(),
                          q.data(), hi.data(), lo.data(), scale.data(), sum16.data(), f32_sum16.data(), (int)q.shape(1));
    }, nb::arg("level"), nb::arg("x"), nb::arg("perm").none(), nb::arg("f32"), nb::arg("q"), nb::arg("hi"), nb::arg("lo"),
       nb::arg("scale"), nb::arg("sum16"), nb::arg("f32_sum16"));
    m.def("gemm_i16", [](const std::string& name, In<int16_t> q, In<float> scale, int row0, int k0, In<int16_t> panel,
                         In<float> row_scale, Out<float> y) {
        const Level& level = level_named(name);
        NEED(level, gemm_i16);
        Activations a{};
        a.n = (int)q.shape(0);
        a.in = a.stride = (int)q.shape(1);
        a.q = q.data();
        a.scale = scale.data();
        level.gemm_i16(a, row0, (int)y.shape(0), k0, 2 * (int)panel.shape(1), panel.data(), row_scale.data(), y.data(),
                       (int)y.shape(1));
    });
    m.def("gemm_f32", [](const std::string& name, In<float> f32, int row0, int k0, In<float> panel, Out<float> y) {
        const Level& level = level_named(name);
        NEED(level, gemm_f32);
        Activations a{};
        a.n = (int)f32.shape(0);
        a.in = a.stride = (int)f32.shape(1);
        a.f32 = f32.data();
        level.gemm_f32(a, row0, (int)y.shape(0), k0, (int)panel.shape(1), panel.data(), y.data(), (int)y.shape(1));
    });
    m.def("rms_norm", [](const std::string& name, In<float> x, In<float> weight, float eps, Out<float> y) {
        const Level& level = level_named(name);
        NEED(level, rms_norm);
        const size_t width = x.shape(1);
        for (size_t r = 0; r < x.shape(0); r++)
            level.rms_norm(x.data() + r * width, weight.data(), (int)width, (int)weight.shape(0), eps, y.data() + r * width);
    });
    m.def("rope", [](const std::string& name, Out<float> x, In<float> cos, In<float> sin, int heads) {
        const Level& level = level_named(name);
        NEED(level, rope);
        const int n = (int)x.shape(0), width = (int)x.shape(1);
        const RopeArgs args{n, heads, width / heads, 2 * (int)cos.shape(1), cos.data(), sin.data()};
        for (int r = 0; r < n; r++) level.rope(args, r, x.data() + (size_t)r * width);
    });
    m.def("swiglu", [](const std::string& name, In<float> gate, In<float> up, Out<float> y) {
        const Level& level = level_named(name);
        NEED(level, swiglu);
        const size_t width = gate.shape(1);
        for (size_t r = 0; r < gate.shape(0); r++)
            level.swiglu(gate.data() + r * width, up.data() + r * width, (int)width, y.data() + r * width);
    });
    m.def("add", [](const std::string& name, In<float> x, Out<float> y) {
        const Level& level = level_named(name);
        NEED(level, add);
        level.add(x.data(), (int)x.size(), y.data());
    });
    m.def("nearest_codes", nearest_codes);
    m.def("quantize_columns", quantize_columns);
    m.def("search_block", search_block, nb::arg("level"), nb::arg("wanted"), nb::arg("fed"), nb::arg("forward"),
          nb::arg("back").none(), nb::arg("later"), nb::arg("books"), nb::arg("held").none(), nb::arg("beam"), nb::arg("codes"),
          nb::arg("left"), nb::arg("threads"));
    m.def("stream_read", stream_read);
    m.def("softmax", [](const std::string& name, In<float> x, Out<float> y) {
        const Level& level = level_named(name);
        NEED(level, softmax);
        level.softmax(x.data(), (int)x.size(), y.data());
    });
    m.def("top_k", [](const std::string& name, In<float> x, Out<int32_t> indices, Out<float> values) {
        const Level& level = level_named(name);
        NEED(level, top_k);
        level.top_k(x.data(), (int)x.size(), (int)indices.size(), indices.data(), values.data());
    });
}

}  // namespace nutshell
