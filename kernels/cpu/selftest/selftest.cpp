// Every op of every level that runs here against the scalar level, on odd sizes, and with several threads against one.
// One program without Python: built for other processors and under sanitizers by selftest.py. Exits with 1 on a difference.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>

#include "../cpu_features.h"
#include "../linear.h"
#include "../program.h"
#include "weights.h"

using namespace nutshell;

namespace {

int failures = 0, checks = 0;
Dice dice;

std::vector<float> numbers(size_t n) {
    std::vector<float> x(n);
    for (float& v : x) v = dice.number();
    return x;
}

// Largest distance relative to the largest expected number.
void near(const char* what, const char* level, int a, int b, const std::vector<float>& found, const std::vector<float>& expected, float limit) {
    float size = 1e-20f, far = 0;
    for (size_t i = 0; i < expected.size(); i++) {
        size = std::max(size, std::fabs(expected[i]));
        const float d = std::fabs(found[i] - expected[i]);
        far = d <= far ? far : d;  // NaN stays
    }
    checks++;
    if (far <= limit * size) return;
    failures++;
    std::printf("FAIL %s %s (%d, %d): off by %g of %g\n", level, what, a, b, (double)far, (double)size);
}

void same(const char* what, const char* level, int a, int b, const std::vector<float>& found, const std::vector<float>& expected) {
    checks++;
    if (std::memcmp(found.data(), expected.data(), expected.size() * sizeof(float)) == 0) return;
    failures++;
    std::printf("FAIL %s %s (%d, %d): other bits with other threads\n", level, what, a, b);
}

std::vector<float> linear(const Level& level, RandomWeight& weight, const std::vector<float>& x, int n, Regime regime, bool precise, int threads) {
    std::vector<float> y((size_t)n * (size_t)weight.w.out, NAN);
    weight.derive(*level.linear[(int)weight.w.scheme]);
    Pool pool(threads);
    Workspace workspace;
    const LinearTarget target{y.data(), weight.w.out, false};
    LinearGroup(level, {&weight.w}).run(workspace, pool, x.data(), n, &target, regime, precise);
    return y;
}

const Shape kShapes[] = {
    {"f32", Scheme::f32, 70, 100, 0, 0, 0, false, true},
    {"f16", Scheme::f16, 70, 100, 0, 0, 0, false, false},
    {"bf16", Scheme::bf16, 33, 130, 0, 0, 0, true, false},
    {"q8 32", Scheme::q8, 50, 96, 32, 0, 0, false, true},
    {"q8 128", Scheme::q8, 130, 200, 128, 0, 0, false, false},
    {"q4 32", Scheme::q4, 70, 320, 32, 0, 0, false, false},
    {"q4 64", Scheme::q4, 257, 70, 64, 0, 0, true, true},
    {"q4 128", Scheme::q4, 17, 640, 128, 0, 0, false, false},
    {"spqr 3", Scheme::spqr, 48, 288, 16, 3, 0, false, false},
    {"spqr 4", Scheme::spqr, 100, 100, 16, 4, 0, true, true},
    {"aqlm 1x8", Scheme::aqlm, 70, 96, 8, 8, 1, false, true},
    {"aqlm 2x8", Scheme::aqlm, 450, 640, 8, 8, 2, false, false},
    {"aqlm 3x8", Scheme::aqlm, 300, 72, 8, 8, 3, false, false},
    {"aqlm 4x8", Scheme::aqlm, 64, 136, 8, 8, 4, true, false},
    {"aqlm 2x6", Scheme::aqlm, 64, 64, 8, 6, 2, false, false},
    {"aqlm 1x12", Scheme::aqlm, 100, 96, 8, 12, 1, false, false},
    {"aqlm 2x8 of 16", Scheme::aqlm, 130, 96, 16, 8, 2, false, false},
};

void check_linears(const Level& level, const Level& scalar) {
    for (const Shape& shape : kShapes) {
        if (!level.linear[(int)shape.scheme]) {
            std::printf("%s has no %s\n", level.name, shape.name);
            continue;
        }
        RandomWeight weight(shape, scalar, dice);
        for (int n : {1, 2, 3, 5, 8, 9, 37}) {
            const std::vector<float> x = numbers((size_t)n * (size_t)shape.in);
            const std::vector<float> exact = linear(scalar, weight, x, n, Regime::many, true, 1);
            for (int regime = 1; regime <= 3; regime++) {  // decode, many, precise
                if (regime == 1 && n > kMaxGemvRows) continue;
                const auto run = [&](int threads) { return linear(level, weight, x, n, regime == 1 ? Regime::decode : Regime::many, regime == 3, threads); };
                const std::vector<float> found = run(1);
                near(shape.name, level.name, n, regime, found, exact, regime == 3 ? 1e-5f : 4e-3f);
                same(shape.name, level.name, n, regime, run(3), found);
            }
        }
    }
}

void check_rows(const Level& level, const Level& scalar) {
    for (int width : {1, 7, 16, 33, 576, 1000}) {
        const std::vector<float> x = numbers((size_t)width), other = numbers((size_t)width);
        std::vector<float> a((size_t)width, NAN), b = a;
        level.rms_norm(x.data(), other.data(), width, width, 1e-5f, a.data());
        scalar.rms_norm(x.data(), other.data(), width, width, 1e-5f, b.data());
        near("rms_norm", level.name, width, 0, a, b, 1e-5f);
        level.swiglu(x.data(), other.data(), width, a.data());
        scalar.swiglu(x.data(), other.data(), width, b.data());
        near("swiglu", level.name, width, 0, a, b, 1e-5f);
        a = b = other;
        level.add(x.data(), width, a.data());
        scalar.add(x.data(), width, b.data());
        near("add", level.name, width, 0, a, b, 1e-6f);
        level.softmax(x.data(), width, a.data());
        scalar.softmax(x.data(), width, b.data());
        near("softmax", level.name, width, 0, a, b, 1e-5f);
        for (int k : {1, 5, 40}) {
            const int kept = std::min(k, width);
            std::vector<int32_t> ia((size_t)kept), ib = ia;
            a.assign((size_t)kept, NAN);
            b = a;
            level.top_k(x.data(), width, kept, ia.data(), a.data());
            scalar.top_k(x.data(), width, kept, ib.data(), b.data());
            near("top_k", level.name, width, k, a, b, ia == ib ? 0.0f : -1.0f);
        }
    }
    for (int rotary : {4, 32, 36, 64}) {
        const int heads = 3, head_dim = 64;
        const std::vector<float> cos = numbers((size_t)rotary / 2), sin = numbers((size_t)rotary / 2);
        const RopeArgs args{1, heads, head_dim, rotary, cos.data(), sin.data()};
        std::vector<float> a = numbers((size_t)(heads * head_dim)), b = a;
        level.rope(args, 0, a.data());
        scalar.rope(args, 0, b.data());
        near("rope", level.name, rotary, 0, a, b, 1e-5f);
    }
}

// A small model of all steps, as executor.py would write it; three forwards, of which the last is a tree.
std::vector<float> model(const Level& level, std::vector<RandomWeight>& w, bool q8, int threads) {
    const int heads = 4, kv_heads = 2, head_dim = 16, width = 40, inner = 75, layers = 2;
    for (RandomWeight& weight : w) weight.derive(*level.linear[(int)weight.w.scheme]);
    const std::vector<float> ones((size_t)width, 1.0f), frequencies = {1.0f, 0.5f, 0.25f, 0.125f, 0.06f, 0.03f, 0.01f, 0.005f};
    Program program(level, threads, 8, 70, q8, false);
    const Place x{0, width}, h{1, width}, q{2, heads * head_dim}, k{3, kv_heads * head_dim}, v{4, kv_heads * head_dim},
        a{5, heads * head_dim}, gate{6, inner}, up{7, inner};
    program.embed(&w[0].w, x, 2.0f);
    for (int layer = 0; layer < layers; layer++) {
        program.rms_norm(x, ones.data(), width, 1e-5f, h);
        program.linears(h, {&w[1].w, &w[2].w, &w[3].w}, {q, k, v}, false);
        program.rope(q, head_dim, frequencies.data(), 8, 1.0f);
        program.rope(k, head_dim, frequencies.data(), 8, 1.0f);
        program.attention(layer, q, k, v, head_dim, 0.25f, a, layer ? 9 : 0);
        program.linears(a, {&w[4].w}, {x}, true);
        program.rms_norm(x, ones.data(), width, 1e-5f, h);
        program.linears(h, {&w[5].w, &w[6].w}, {gate, up}, false);
        program.swiglu(gate, up, gate);
        program.linears(gate, {&w[7].w}, {x}, true);
    }
    program.rms_norm(x, ones.data(), width, 1e-5f, h);
    program.output(h, &w[0].w);
    program.finish();
    std::vector<float> all;
    int committed = 0;
    for (int n : {33, 1, 5}) {
        std::vector<int32_t> tokens, positions, wanted;
        std::vector<uint64_t> mask;
        const bool tree = n == 5;
        for (int i = 0; i < n; i++) {
            tokens.push_back((i * 7 + n) % w[0].w.out);
            positions.push_back(committed + (tree ? i > 0 : i));
            mask.push_back(tree ? 1u | 1u << i : (2ull << i) - 1);
            if (i % 2 == 0) wanted.push_back(i);
        }
        std::vector<float> logits(wanted.size() * (size_t)w[0].w.out, NAN);
        const Batch batch{n, tokens.data(), positions.data(), mask.data(), 1, !tree, wanted.data(), (int)wanted.size(), logits.data()};
        if (!program.forward(batch, committed)) failures++;
        all.insert(all.end(), logits.begin(), logits.end());
        committed += n;
    }
    program.move(committed - 1, committed - 4);
    return all;
}

void check_models(const Level& level, const Level& scalar) {
    for (Scheme scheme : {Scheme::f32, Scheme::q8, Scheme::q4, Scheme::aqlm}) {
        if (!level.linear[(int)scheme] || !scalar.linear[(int)scheme]) continue;
        const int sizes[][2] = {{101, 40}, {64, 40}, {32, 40}, {32, 40}, {40, 64}, {75, 40}, {75, 40}, {40, 75}};
        std::vector<RandomWeight> weights;
        for (const auto& [out, in] : sizes)
            weights.emplace_back(Shape{"", scheme, out, in, scheme == Scheme::aqlm ? 8 : 32, 8, 2, false, false}, scalar, dice);
        for (bool q8 : {false, true}) {
            const std::vector<float> found = model(level, weights, q8, 1);
            same("model", level.name, (int)scheme, q8, model(level, weights, q8, 3), found);
            near("model", level.name, (int)scheme, q8, found, model(scalar, weights, q8, 1), 0.05f);
        }
    }
}

// Ties of rounding may go either way, and what is fed then differs: the errors are compared, not the codes.
std::vector<float> searched(const Level& level, SearchArgs args, const std::vector<float>& fed, int rows, int threads) {
    std::vector<float> rest = fed, left(fed.size(), NAN), error(1, 0.0f);
    std::vector<uint8_t> codes((size_t)rows * args.groups * args.num_codebooks);
    Memory scratch(level.search_bytes(args));
    args.fed = rest.data(), args.left = left.data(), args.codes = codes.data(), args.scratch = scratch.as<char>(1);
    Pool pool(threads);
    pool.run(args.groups, [&](int group, int) { level.search_prepare(args, group); });
    pool.run(rows, [&](int row, int) { level.search_rows(args, row, 1); });
    for (float v : rest) error[0] += v * v;
    rest.insert(rest.end(), left.begin(), left.end());
    for (uint8_t code : codes) rest.push_back(code);
    rest.push_back(error[0]);
    return rest;
}

void check_search(const Level& level, const Level& scalar) {
    const int shapes[][5] = {{8, 3, 256, 1, 8}, {8, 5, 256, 2, 8}, {8, 2, 48, 4, 3}, {16, 3, 256, 2, 8}};
    for (const auto& [group, groups, entries, count, beam] : shapes) {
        const int rows = 41, width = group * groups;
        const std::vector<float> wanted = numbers((size_t)rows * width), fed = numbers((size_t)rows * width);
        const std::vector<float> forward = numbers((size_t)width * group), later = numbers((size_t)width * width);
        const std::vector<float> books = numbers((size_t)count * group * entries);
        SearchArgs args{group, groups, entries, count, beam, wanted.data(), forward.data(), nullptr, later.data(), books.data(),
                        nullptr, nullptr, nullptr, nullptr, nullptr};
        const std::vector<float> found = searched(level, args, fed, rows, 1);
        same("search", level.name, group, count, searched(level, args, fed, rows, 3), found);
        near("search", level.name, group, count, {found.back()}, {searched(scalar, args, fed, rows, 1).back()}, 0.2f);
    }
}

// Every chunk exactly once, for counts below and above the threads, with workers awake and asleep.
void check_pool() {
    for (int threads : {1, 2, 5}) {
        Pool pool(threads);
        std::vector<int> taken;
        for (int round = 0; round < 400; round++) {
            const int count = round % 41;
            taken.assign((size_t)count, 0);
            pool.run(count, [&](int chunk, int thread) { taken[(size_t)chunk] += thread < threads ? 1 : 100; });
            checks++;
            if (std::count(taken.begin(), taken.end(), 1) == count) continue;
            failures++;
            std::printf("FAIL pool of %d: a chunk of %d was not done once\n", threads, count);
        }
    }
}

// Every unit exactly once, however the shares are cut and whoever comes; a thread's own ones in their order.
void check_shares() {
    for (int threads : {1, 2, 5}) {
        Pool pool(threads);
        Shares shares;
        std::vector<int> taken, last;
        for (int round = 0; round < 400; round++) {
            const int count = round % 41;
            std::vector<int> ends((size_t)threads, count);
            for (int t = 0; t + 1 < threads; t++) ends[(size_t)t] = count * (t + 1) * (round % 3) / (2 * threads);
            taken.assign((size_t)count, 0);
            last.assign((size_t)threads, -1);
            std::atomic<int> wrong{0};
            shares.begin(ends);
            pool.run(count, [&](int, int thread) {
                bool own;
                const int unit = shares.take(thread, &own);
                if (unit < 0 || unit >= count || (own && unit <= last[(size_t)thread])) {
                    wrong++;
                    return;
                }
                if (own) last[(size_t)thread] = unit;
                taken[(size_t)unit]++;
            });
            checks++;
            if (!wrong && std::count(taken.begin(), taken.end(), 1) == count) continue;
            failures++;
            std::printf("FAIL shares of %d: a unit of %d was not done once\n", threads, count);
        }
    }
}

}  // namespace

int main() {
    check_pool();
    check_shares();
    const Level& scalar = *level_scalar();
    for (const Level* level : supported_levels()) {
        check_linears(*level, scalar);
        check_rows(*level, scalar);
        check_models(*level, scalar);
        check_search(*level, scalar);
        std::printf("%s: %d checks, %d failures so far\n", level->name, checks, failures);
    }
    return failures ? 1 : 0;
}
