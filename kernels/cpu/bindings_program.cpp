// Whole models. Arguments are checked by kernels/cpu/executor.py, which also keeps weights and arrays alive.
#include <nanobind/stl/array.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <tuple>

#include "bindings.h"
#include "program.h"

namespace nutshell {
namespace {

using Ring = nb::ndarray<uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// (place in the file, place in the ring, bytes, bytes that must come, block)
using PyPiece = std::tuple<uint64_t, uint64_t, uint64_t, uint64_t, int>;

struct PyStream {
    Ring ring;
    Stream stream;

    static std::vector<Stream::Piece> placed(const Ring& ring, const std::vector<PyPiece>& list) {
        std::vector<Stream::Piece> pieces;
        for (const auto& [from, to, bytes, need, block] : list) {
            if (to + bytes > ring.size()) throw std::invalid_argument("a piece lies outside of the ring");
            pieces.push_back({from, (char*)ring.data() + to, bytes, need, block});
        }
        return pieces;
    }
    PyStream(const std::string& path, Ring memory, const std::vector<PyPiece>& pieces, std::vector<int> behind, int depth, double rate)
        : ring(memory), stream(path, placed(memory, pieces), std::move(behind), depth, rate) {}
};

struct PyProgram {
    Program program;
    std::vector<nb::object> kept;
    std::vector<In<float>> arrays;

    PyProgram(const Level& level, int threads, int slots, int capacity, bool q8, bool precise)
        : program(level, threads, slots, capacity, q8, precise) {
        const auto need = [&](bool there, const char* what) {
            if (!there) not_implemented(level, what);
        };
        need(level.prepare && level.rms_norm && level.rope && level.swiglu && level.add, "row operations");
        need(level.store_kv && level.move_kv && level.attention_part, "attention");
    }

    const Weight* keep(const nb::handle& linear) {
        const PyLinear* weight = nb::cast<const PyLinear*>(linear);
        if (const char* missing = LinearGroup::missing(*weight->level, weight->weight)) not_implemented(*weight->level, missing);
        kept.push_back(nb::borrow(linear));
        return &weight->weight;
    }
    const float* keep(In<float> array) {
        arrays.push_back(array);
        return arrays.back().data();
    }
};

using Pair = std::array<int, 2>;

Place place(const Pair& pair) { return {pair[0], pair[1]}; }

}  // namespace

void bind_program(nb::module_& m) {
    nb::class_<PyStream>(m, "Stream")
        .def("__init__", [](PyStream* self, const std::string& path, Ring ring, const std::vector<PyPiece>& pieces, std::vector<int> behind,
                            int depth, double rate) { new (self) PyStream(path, ring, pieces, std::move(behind), depth, rate); })
        .def("direct", [](const PyStream& self) { return self.stream.direct(); })
        .def("wait", [](PyStream& self, int block) {
            static const std::atomic<bool> never{false};
            nb::gil_scoped_release unlocked;
            self.stream.wait(block, never);
        })
        .def("release", [](PyStream& self, int block) { self.stream.release(block); })
        .def("limit", [](PyStream& self, double rate) { self.stream.limit(rate); })
        .def("counts", [](PyStream& self) {
            const Stream::Counts counts = self.stream.counts();
            return std::make_tuple(counts.bytes, counts.busy_s, counts.waited_s);
        });
    nb::class_<PyProgram>(m, "Program")
        .def("__init__", [](PyProgram* self, const std::string& level, int threads, int slots, int capacity, bool q8, bool precise) {
            new (self) PyProgram(level_named(level), threads, slots, capacity, q8, precise);
        })
        .def("embed", [](PyProgram& self, nb::handle table, Pair out, float scale) {
            self.program.embed(self.keep(table), place(out), scale);
        })
        .def("rms_norm", [](PyProgram& self, Pair x, In<float> weight, float eps, Pair out) {
            self.program.rms_norm(place(x), self.keep(weight), (int)weight.shape(0), eps, place(out));
        })
        .def("linears", [](PyProgram& self, Pair x, const nb::list& weights, const nb::list& outs, bool accumulate) {
            std::vector<const Weight*> list;
            std::vector<Place> places;
            for (nb::handle weight : weights) list.push_back(self.keep(weight));
            for (nb::handle out : outs) places.push_back(place(nb::cast<Pair>(out)));
            self.program.linears(place(x), std::move(list), std::move(places), accumulate);
        })
        .def("rope", [](PyProgram& self, Pair x, int head_dim, In<float> frequencies, float factor) {
            self.program.rope(place(x), head_dim, self.keep(frequencies), (int)frequencies.shape(0), factor);
        })
        .def("attention", [](PyProgram& self, int layer, Pair q, Pair k, Pair v, int head_dim, float scale, Pair out, int window) {
            self.program.attention(layer, place(q), place(k), place(v), head_dim, scale, place(out), window);
        })
        .def("swiglu", [](PyProgram& self, Pair gate, Pair up, Pair out) { self.program.swiglu(place(gate), place(up), place(out)); })
        .def("add", [](PyProgram& self, Pair x, Pair y) { self.program.add(place(x), place(y)); })
        .def("output", [](PyProgram& self, Pair final, nb::handle head) { self.program.output(place(final), self.keep(head)); })
        .def("streamed", [](PyProgram& self, int block) { self.program.streamed(block); })
        .def("stream", [](PyProgram& self, nb::handle stream) {
            self.program.stream(&nb::cast<PyStream*>(stream)->stream);
            self.kept.push_back(nb::borrow(stream));
        })
        .def("finish", [](PyProgram& self) { self.program.finish(); })
        .def("forward", [](PyProgram& self, int committed, In<int32_t> tokens, In<int32_t> positions, In<uint64_t> mask, bool chain,
                           In<int32_t> wanted, Out<float> logits) {
            const Batch batch{(int)tokens.size(), tokens.data(), positions.data(), mask.data(), (int)mask.shape(1), chain,
                              wanted.data(), (int)wanted.size(), logits.data()};
            nb::gil_scoped_release unlocked;
            return self.program.forward(batch, committed);
        })
        .def("move", [](PyProgram& self, int from, int to) { self.program.move(from, to); })
        .def("hidden", [](const PyProgram& self, Out<float> out) { self.program.hidden(out.data()); })
        .def("abort", [](PyProgram& self, bool flag) { self.program.abort(flag); })
        .def("kv_bytes", [](const PyProgram& self) { return self.program.kv_bytes(); })
        .def("profile", [](PyProgram& self, bool on) { return self.program.profile(on); });
}

}  // namespace nutshell
