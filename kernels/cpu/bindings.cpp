#include "bindings.h"

namespace nutshell {

const Level& level_named(const std::string& name) {
    const std::vector<const Level*>& levels = supported_levels();
    if (name.empty()) return *levels.back();
    for (const Level* level : levels)
        if (name == level->name) return *level;
    throw std::invalid_argument("This processor has no level '" + name + "'.");
}

void not_implemented(const Level& level, const std::string& what) {
    PyErr_SetString(PyExc_NotImplementedError, ("Level " + std::string(level.name) + " has no " + what + ".").c_str());
    throw nb::python_error();
}

namespace {

const char* const kSchemeNames[] = {"f32", "f16", "bf16", "q8", "q4", "spqr", "aqlm"};

int parameter(const nb::dict& parameters, const char* name, int otherwise) {
    return parameters.contains(name) ? nb::cast<int>(parameters[name]) : otherwise;
}

}  // namespace

PyLinear::PyLinear(const Level& on, int scheme, int out, int in, int in_padded, const nb::dict& parameters, const nb::dict& buffers)
    : level(&on) {
    weight.scheme = (Scheme)scheme;
    weight.out = out;
    weight.in = in;
    weight.in_padded = in_padded;
    weight.group_size = parameter(parameters, "group_size", 0);
    weight.bits = parameter(parameters, "bits", 0);
    weight.num_codebooks = parameter(parameters, "num_codebooks", 0);
    if (weight.scheme == Scheme::aqlm) {
        weight.bits = parameter(parameters, "nbits_per_codebook", 0);
        weight.group_size = parameter(parameters, "in_group_size", 0);
    } else if (weight.scheme == Scheme::spqr) {
        weight.group_size = 16;
    }
    const auto get = [&](const char* name) -> const void* {
        if (!buffers.contains(name)) return nullptr;
        kept.push_back(nb::cast<Buffer>(buffers[name]));
        return kept.back().data();
    };
    weight.bias = (const float*)get("bias");
    weight.perm = (const uint32_t*)get("perm");
    weight.row_max = (const float*)get("row_max");
    weight.data = get("data");
    weight.scales = (const uint16_t*)get("scales");
    weight.levels = (const uint16_t*)get("levels");
    weight.outlier_steps = (const int32_t*)get("outlier_steps");
    weight.outlier_lanes = (const uint8_t*)get("outlier_lanes");
    weight.outliers = (const uint16_t*)get("outliers");
    weight.codebooks = (const uint16_t*)get("codebooks");
    const LinearOps* ops = level->linear[scheme];
    if (!ops) not_implemented(*level, std::string("linear for scheme ") + kSchemeNames[scheme]);
    if (ops->derived_bytes && ops->derived_bytes(weight)) {
        void* made = derived.grow(ops->derived_bytes(weight));
        ops->derive(weight, made);
        weight.derived = made;
    }
}

}  // namespace nutshell

NB_MODULE(_native, m) {
    using namespace nutshell;
    nb::set_leak_warnings(false);  // what still lives when the interpreter ends is freed with the process
    m.attr("layout") = kLayout;
    m.def("levels", [] {
        nb::list names;
        for (const Level* level : supported_levels()) names.append(level->name);
        return names;
    });
    nb::class_<PyLinear>(m, "Linear")
        .def("__init__",
             [](PyLinear* self, const std::string& level, int scheme, int out, int in, int in_padded, const nb::dict& parameters,
                const nb::dict& buffers) {
                 new (self) PyLinear(level_named(level), scheme, out, in, in_padded, parameters, buffers);
             })
        .def("panel_i16",
             [](const PyLinear& self, int first_row, int k0, int k, Out<int16_t> panel, Out<float> scales) {
                 const LinearOps& ops = *self.level->linear[(int)self.weight.scheme];
                 if (!ops.panel_i16) not_implemented(*self.level, "panel_i16 for this scheme");
                 ops.panel_i16(self.weight, first_row, k0, k, panel.data());
                 ops.row_scales(self.weight, first_row, scales.data());
             })
        .def("panel_f32", [](const PyLinear& self, int first_row, int k0, int k, Out<float> panel) {
            const LinearOps& ops = *self.level->linear[(int)self.weight.scheme];
            if (!ops.panel_f32) not_implemented(*self.level, "panel_f32 for this scheme");
            ops.panel_f32(self.weight, first_row, k0, k, panel.data());
        });
    bind_ops(m);
    bind_program(m);
    bind_text(m);
    bind_timing(m);
}
