// Single rows of a packed table.
#pragma once
#include "types.h"

namespace nutshell {

// Floats of scratch that embedding_row needs: none where the layout lets a row be read by itself.
size_t embedding_scratch(const Weight& table);

// y[0 .. in) = row of the table * scale
void embedding_row(const Level& level, const Weight& table, int row, float scale, float* y, float* scratch);

}  // namespace nutshell
