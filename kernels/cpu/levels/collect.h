// Included by each level's file behind its simd header: compiles every op for it and fills the table.
// An op whose header is not there stays null.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>

#include "../types.h"

#if __has_include("../ops/prepare.h")
#include "../ops/prepare.h"
#define NUTSHELL_HAS_PREPARE
#endif
#if __has_include("../ops/gemm.h")
#include "../ops/gemm.h"
#define NUTSHELL_HAS_GEMM
#endif
#if __has_include("../ops/norm.h")
#include "../ops/norm.h"
#define NUTSHELL_HAS_NORM
#endif
#if __has_include("../ops/rope.h")
#include "../ops/rope.h"
#define NUTSHELL_HAS_ROPE
#endif
#if __has_include("../ops/activation.h")
#include "../ops/activation.h"
#define NUTSHELL_HAS_ACTIVATION
#endif
#if __has_include("../ops/kv.h")
#include "../ops/kv.h"
#define NUTSHELL_HAS_KV
#endif
#if __has_include("../ops/attention.h")
#include "../ops/attention.h"
#define NUTSHELL_HAS_ATTENTION
#endif
#if __has_include("../ops/topk.h")
#include "../ops/topk.h"
#define NUTSHELL_HAS_TOPK
#endif
#if __has_include("../ops/linear_dense.h")
#include "../ops/linear_dense.h"
#define NUTSHELL_HAS_DENSE
#endif
#if __has_include("../ops/linear_q8.h")
#include "../ops/linear_q8.h"
#define NUTSHELL_HAS_Q8
#endif
#if __has_include("../ops/linear_q4.h")
#include "../ops/linear_q4.h"
#define NUTSHELL_HAS_Q4
#endif
#if __has_include("../ops/linear_spqr.h")
#include "../ops/linear_spqr.h"
#define NUTSHELL_HAS_SPQR
#endif
#if __has_include("../ops/linear_aqlm.h")
#include "../ops/linear_aqlm.h"
#define NUTSHELL_HAS_AQLM
#endif
#if __has_include("../ops/nearest.h")
#include "../ops/nearest.h"
#define NUTSHELL_HAS_NEAREST
#endif
#if __has_include("../ops/stream.h")
#include "../ops/stream.h"
#define NUTSHELL_HAS_STREAM
#endif

namespace nutshell::NUTSHELL_LEVEL {

inline Level collect(const char* name) {
    Level level{};
    level.name = name;
#ifdef NUTSHELL_HAS_PREPARE
    level.prepare = prepare;
#endif
#ifdef NUTSHELL_HAS_GEMM
    level.gemm_i16 = gemm_i16;
    level.gemm_f32 = gemm_f32;
#endif
#ifdef NUTSHELL_HAS_NORM
    level.rms_norm = rms_norm;
#endif
#ifdef NUTSHELL_HAS_ROPE
    level.rope = rope;
#endif
#ifdef NUTSHELL_HAS_ACTIVATION
    level.swiglu = swiglu;
    level.add = add;
#endif
#ifdef NUTSHELL_HAS_KV
    level.store_kv = store_kv;
    level.move_kv = move_kv;
#endif
#ifdef NUTSHELL_HAS_ATTENTION
    level.attention_parts = attention_parts;
    level.attention_scratch = attention_scratch;
    level.attention_part = attention_part;
    level.attention_merges = attention_merges;
    level.attention_merge = attention_merge;
#endif
#ifdef NUTSHELL_HAS_TOPK
    level.softmax = softmax;
    level.top_k = top_k;
#endif
#ifdef NUTSHELL_HAS_DENSE
    level.linear[(int)Scheme::f32] = f32_ops();
    level.linear[(int)Scheme::f16] = f16_ops();
    level.linear[(int)Scheme::bf16] = bf16_ops();
#endif
#ifdef NUTSHELL_HAS_Q8
    level.linear[(int)Scheme::q8] = q8_ops();
#endif
#ifdef NUTSHELL_HAS_Q4
    level.linear[(int)Scheme::q4] = q4_ops();
#endif
#ifdef NUTSHELL_HAS_SPQR
    level.linear[(int)Scheme::spqr] = spqr_ops();
#endif
#ifdef NUTSHELL_HAS_AQLM
    level.linear[(int)Scheme::aqlm] = aqlm_ops();
#endif
#ifdef NUTSHELL_HAS_NEAREST
    level.nearest_codes = nearest_codes;
#endif
#ifdef NUTSHELL_HAS_STREAM
    level.stream_read = stream_read;
#endif
    return level;
}

}  // namespace nutshell::NUTSHELL_LEVEL
