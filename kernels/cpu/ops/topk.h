// The largest numbers of a row.
#pragma once
#include "narrow.h"
#include <algorithm>
#include <vector>

namespace nutshell::NUTSHELL_LEVEL {

struct Ranked {
    float value;
    int32_t index;
    bool operator<(const Ranked& other) const {
        return value > other.value || (value == other.value && index < other.index);
    }
};

// A number that at least k (or all that are not NaN) of x are not below: the k-th largest of the maxima of strips of x,
// strips being every 16th number of a run. Four strips per wanted number leave few candidates too many.
inline float top_k_threshold(const float* x, int n, int k) {
    int run = n / (4 * k) < 1 ? 1 : n / (4 * k) > 64 ? 64 : n / (4 * k), vectors = n / 16;
    std::vector<float> maxima((size_t)((vectors + run - 1) / run) * 16);
    if ((size_t)k > maxima.size()) return -INFINITY;
    float* to = maxima.data();
    for (int v = 0; v < vectors; v += run, to += 16) {
        F top = F::set1(-INFINITY);
        for (int i = v; i < vectors && i < v + run; i++) top = max(F::load(x + (ptrdiff_t)i * 16), top);  // NaN: top stays
        top.store(to);
    }
    std::nth_element(maxima.begin(), maxima.begin() + (k - 1), maxima.end(), [](float a, float b) { return a > b; });
    return maxima[(size_t)k - 1];
}

// Indices and values of the min(k, n) largest, descending, the lower index first among equals. NaN counts as -inf.
inline void top_k(const float* x, int n, int k, int32_t* indices, float* values) {
    k = k < n ? k : n;
    if (k <= 0) return;
    std::vector<Ranked> found;
    found.reserve((size_t)k * 4);
    float least = top_k_threshold(x, n, k);
    if (least > -INFINITY) {
        F threshold = F::set1(least);
        for (int i = 0; i < n; i += 16) {
            F v = n - i >= 16 ? F::load(x + i) : F::load_first(x + i, n - i);
            uint32_t bits = at_least(v, threshold);
            if (n - i < 16) bits &= (1u << (n - i)) - 1;
            for (int j = i; bits; bits >>= 1, j++)
                if (bits & 1) found.push_back({x[j], j});
        }
    } else {  // short rows, and rows that are mostly -inf or NaN
        for (int i = 0; i < n; i++) found.push_back({x[i] == x[i] ? x[i] : -INFINITY, i});
    }
    std::nth_element(found.begin(), found.begin() + (k - 1), found.end());
    std::sort(found.begin(), found.begin() + k);
    for (int i = 0; i < k; i++) {
        indices[i] = found[(size_t)i].index;
        values[i] = found[(size_t)i].value;
    }
}

}  // namespace nutshell::NUTSHELL_LEVEL
