#include "embedding.h"

#include "simd/float16.h"

namespace nutshell {
namespace {

// Weight `column` of the row, for the layouts in which it has an address (layout.md).
struct Row {
    const Weight& w;
    size_t panel, lane;

    size_t dense(int column) const { return (panel * (size_t)w.in_padded + (size_t)column) * kRows + lane; }
    float scale(int column) const {
        const size_t groups = (size_t)(w.in_padded / w.group_size);
        return f16_to_f32(w.scales[(panel * groups + (size_t)(column / w.group_size)) * kRows + lane]);
    }
    float q8(int column) const {
        constexpr int kPlace[4] = {0, 2, 1, 3};
        const size_t quad = panel * (size_t)(w.in_padded / 4) + (size_t)(column / 4);
        return scale(column) * (float)((const int8_t*)w.data)[(quad * kRows + lane) * 4 + (size_t)kPlace[column % 4]];
    }
    float q4(int column) const {
        const size_t eight = panel * (size_t)(w.in_padded / 8) + (size_t)(column / 8);
        const int byte = ((const uint8_t*)w.data)[(eight * kRows + lane) * 4 + (size_t)(column % 4)];
        return scale(column) * (float)((column % 8 < 4 ? byte & 15 : byte >> 4) - 8);
    }
};

template <class Read> void read_row(const Weight& w, float scale, float* y, Read read) {
    for (int column = 0; column < w.in; column++) y[column] = scale * read(column);
}

}  // namespace

size_t embedding_scratch(const Weight& table) {
    return table.scheme == Scheme::spqr || table.scheme == Scheme::aqlm ? (size_t)kPanelRows * (size_t)table.in_padded : 0;
}

void embedding_row(const Level& level, const Weight& w, int row, float scale, float* y, float* scratch) {
    const Row at{w, (size_t)(row / kRows), (size_t)(row % kRows)};
    switch (w.scheme) {
        case Scheme::f32: return read_row(w, scale, y, [&](int c) { return ((const float*)w.data)[at.dense(c)]; });
        case Scheme::f16: return read_row(w, scale, y, [&](int c) { return f16_to_f32(((const uint16_t*)w.data)[at.dense(c)]); });
        case Scheme::bf16: return read_row(w, scale, y, [&](int c) { return bf16_to_f32(((const uint16_t*)w.data)[at.dense(c)]); });
        case Scheme::q8: return read_row(w, scale, y, [&](int c) { return at.q8(c); });
        case Scheme::q4: return read_row(w, scale, y, [&](int c) { return at.q4(c); });
        case Scheme::spqr:
        case Scheme::aqlm: break;
    }
    level.linear[(int)w.scheme]->panel_f32(w, row / kPanelRows * kPanelRows, 0, w.in_padded, scratch);
    const float* panel = scratch + (size_t)(row % kPanelRows / kRows) * (size_t)w.in_padded * kRows + row % kRows;
    for (int c = 0; c < w.in; c++) y[w.perm ? w.perm[c] : (uint32_t)c] = scale * panel[(size_t)c * kRows];
}

}  // namespace nutshell
