// What the Python module's files share.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "cpu_features.h"
#include "linear.h"

namespace nutshell {

namespace nb = nanobind;

template <class T> using In = nb::ndarray<const T, nb::c_contig, nb::device::cpu>;
template <class T> using Out = nb::ndarray<T, nb::c_contig, nb::device::cpu>;
using Buffer = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;

// ValueError for a name that is not compiled or not supported here; an empty name is the best one.
const Level& level_named(const std::string& name);

// NotImplementedError, with a sentence.
[[noreturn]] void not_implemented(const Level& level, const std::string& what);

// A weight whose buffers this object keeps alive.
struct PyLinear {
    Weight weight{};
    const Level* level;
    Memory derived;
    std::vector<Buffer> kept;

    PyLinear(const Level& level, int scheme, int out, int in, int in_padded, const nb::dict& parameters, const nb::dict& buffers);
};

void bind_ops(nb::module_& module);
void bind_program(nb::module_& module);
void bind_text(nb::module_& module);
void bind_timing(nb::module_& module);

}  // namespace nutshell
