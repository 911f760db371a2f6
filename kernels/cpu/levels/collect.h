// Included by each level's file behind its simd header: compiles every op for it and fills the table.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>

#include "../types.h"
//
#include "../ops/activation.h"
#if __has_include("../ops/aqlm.h")
#include "../ops/aqlm.h"
#endif
#include "../ops/attention.h"
#include "../ops/column.h"
#include "../ops/dense.h"
#include "../ops/gemm.h"
#include "../ops/kv.h"
#include "../ops/nearest.h"
#include "../ops/norm.h"
#include "../ops/prepare.h"
#include "../ops/q4.h"
#include "../ops/q8.h"
#include "../ops/rope.h"
#include "../ops/search.h"
#include "../ops/spqr.h"
#include "../ops/stream.h"
#include "../ops/topk.h"

namespace nutshell::NUTSHELL_LEVEL {

inline Level collect(const char* name) {
    Level level{};
    level.name = name;
    level.linear[(int)Scheme::f32] = f32_ops();
    level.linear[(int)Scheme::f16] = f16_ops();
    level.linear[(int)Scheme::bf16] = bf16_ops();
    level.linear[(int)Scheme::q8] = q8_ops();
    level.linear[(int)Scheme::q4] = q4_ops();
    level.linear[(int)Scheme::spqr] = spqr_ops();
#if __has_include("../ops/aqlm.h")
    level.linear[(int)Scheme::aqlm] = aqlm_ops();
#endif
    level.prepare = prepare;
    level.gemm_i16 = gemm_i16;
    level.gemm_f32 = gemm_f32;
    level.rms_norm = rms_norm;
    level.rope = rope;
    level.swiglu = swiglu;
    level.add = add;
    level.store_kv = store_kv;
    level.move_kv = move_kv;
    level.attention_parts = attention_parts;
    level.attention_scratch = attention_scratch;
    level.attention_part = attention_part;
    level.attention_merges = attention_merges;
    level.attention_merge = attention_merge;
    level.softmax = softmax;
    level.top_k = top_k;
    level.nearest_codes = nearest_codes;
    level.column_scratch = column_scratch;
    level.quantize_columns = quantize_columns;
    level.search_bytes = search_bytes;
    level.search_prepare = search_prepare;
    level.search_rows = search_rows;
    level.stream_read = stream_read;
    return level;
}

}  // namespace nutshell::NUTSHELL_LEVEL
