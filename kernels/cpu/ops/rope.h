// Rotary positions, Hugging Face order: number i turns with number i + rotary_dim / 2 of the same head.
#pragma once

namespace nutshell::NUTSHELL_LEVEL {

// One row of x, [heads * head_dim], in place; cos and sin of row `row`. Numbers behind rotary_dim stay.
inline void rope(const RopeArgs& args, int row, float* x) {
    int half = args.rotary_dim / 2;
    const float *cos = args.cos + (ptrdiff_t)row * half, *sin = args.sin + (ptrdiff_t)row * half;
    for (int head = 0; head < args.heads; head++, x += args.head_dim) {
        for (int i = 0; i < half; i += 16) {
            int left = half - i < 16 ? half - i : 16;
            F c = F::load_first(cos + i, left), s = F::load_first(sin + i, left);
            F a = F::load_first(x + i, left), b = F::load_first(x + half + i, left);
            (a * c - b * s).store_first(x + i, left);
            (b * c + a * s).store_first(x + half + i, left);
        }
    }
}

}  // namespace nutshell::NUTSHELL_LEVEL
