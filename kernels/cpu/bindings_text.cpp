// Text to tokens.
#include <memory>

#include "bindings.h"
#include "byte_pairs.h"

namespace nutshell {
namespace {

// A vocabulary whose arrays this object keeps alive.
struct PyBytePairs {
    In<uint8_t> letters;
    In<uint32_t> offsets;
    std::unique_ptr<BytePairs> pairs;

    PyBytePairs(In<uint8_t> letters_, In<uint32_t> offsets_, In<int32_t> merges, bool whole_words)
        : letters(std::move(letters_)), offsets(std::move(offsets_)) {
        if (letters.ndim() != 1 || offsets.ndim() != 1 || offsets.shape(0) < 2 || merges.ndim() != 2 || merges.shape(1) != 3)
            throw std::invalid_argument("A vocabulary is letters, offsets [n + 1] and merges [count, 3].");
        const int tokens = (int)offsets.shape(0) - 1, count = (int)merges.shape(0);
        for (int i = 0; i < tokens; i++)
            if (offsets.data()[i] > offsets.data()[i + 1]) throw std::invalid_argument("Offsets ascend.");
        if (offsets.data()[tokens] > letters.shape(0)) throw std::invalid_argument("There are fewer letters than that.");
        for (size_t i = 0; i < merges.size(); i++)
            if (merges.data()[i] < 0 || merges.data()[i] >= tokens) throw std::invalid_argument("No such token.");
        pairs = std::make_unique<BytePairs>(letters.data(), offsets.data(), tokens, merges.data(), count, whole_words);
    }

    // Symbols [n] of words that are numbered by `words` [n]; a list of tokens.
    nb::list encode(In<int32_t> symbols, In<int32_t> words) const {
        const size_t n = symbols.size();
        if (words.size() != n) throw std::invalid_argument("Every symbol is in one word.");
        for (size_t i = 0; i < n; i++)
            if (symbols.data()[i] < 0 || symbols.data()[i] >= pairs->tokens()) throw std::invalid_argument("No such token.");
        std::vector<int32_t> out;
        for (size_t first = 0; first < n;) {
            size_t last = first + 1;
            while (last < n && words.data()[last] == words.data()[first]) last++;
            pairs->word(symbols.data() + first, (int)(last - first), out);
            first = last;
        }
        nb::list list;
        for (int32_t token : out) list.append(token);
        return list;
    }
};

}  // namespace

void bind_text(nb::module_& m) {
    nb::class_<PyBytePairs>(m, "BytePairs")
        .def(nb::init<In<uint8_t>, In<uint32_t>, In<int32_t>, bool>())
        .def("encode", &PyBytePairs::encode);
}

}  // namespace nutshell
