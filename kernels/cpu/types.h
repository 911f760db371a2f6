// What the ops of every instruction set share: weights, activations, the table of functions of one level.
#pragma once
#include <cstddef>
#include <cstdint>

namespace nutshell {

enum class Scheme : int32_t { f32, f16, bf16, q8, q4, spqr, aqlm };

// Of layout.md; grows when the bytes of a scheme change, together with kernels/packing's.
constexpr int kLayout = 3;

constexpr int kRows = 16;         // output rows side by side in the layouts: one per lane
constexpr int kBlock = 128;       // inputs that share one activation scale
constexpr int kPanelRows = 64;    // output rows decoded together for the many-rows regime
constexpr int kMaxTileRows = 2048; // most output rows that one call of gemv computes
constexpr int kMaxGemvRows = 8;   // most activation rows of the decode regime

// A packed linear [out, in]. Pointers go into memory that the owner keeps alive (often a mapped file); layout.md has the
// bytes. `in` is what the activations have; `in_padded` (a multiple of 32) is what the buffers hold: the weights behind
// `in` may be anything finite, because activations are padded with zeros.
struct Weight {
    Scheme scheme;
    int32_t out, in, in_padded;
    const float* bias;        // [out] or null
    const uint32_t* perm;     // [in] or null: input j of the weight is x[perm[j]]
    const float* row_max;     // [ceil(out/64)*64]: an upper bound of |w| per row; null for f32 and aqlm
    // q8, q4: inputs per scale (32, 64 or 128).  spqr: always 16.  aqlm: inputs per code (8 or 16)
    int32_t group_size;
    // spqr: 3 or 4 bits.  aqlm: bits per code (up to 16)
    int32_t bits;
    int32_t num_codebooks;    // aqlm
    const void* data;         // dense: numbers. q8, q4, spqr: codes. aqlm: codes
    const uint16_t* scales;   // q8, q4: f16. spqr: second-level statistics, f16. aqlm: f16 row scales [rows padded to 64]
    const uint16_t* levels;   // spqr: first-level bit planes
    const int32_t* outlier_steps;  // spqr [2 panels + 1]: where the two runs of each panel begin
    const uint8_t* outlier_lanes;  // spqr [panels, 16]: rows of the lanes in the second run
    const uint16_t* outliers;      // spqr [steps, 2, 16]: columns, and f16 values minus dense
    const uint16_t* codebooks;     // aqlm, f16 [K, 2^bits, g]
    const void* derived;           // made at load by the scheme's own `derive` (aqlm: codebooks as integers); may be null
};

// n rows of activations for the linears that read them. Rows are `stride` apart (in_padded rounded up to kBlock), zeros
// behind `in`. q = round(f32 / scale) with one scale per row and block, chosen so that |q| <= 16383 and
// sum |q| <= 2^18 in a block: products with 14-bit weights (|w| <= 8191) cannot overflow an int32 in a block.
struct Activations {
    int32_t n, in, stride;
    const float* f32;     // [n, stride]
    const int16_t* q;     // [n, stride]
    const int8_t* hi;     // [n, stride]  q >> 7 (arithmetic)
    const int8_t* lo;     // [n, stride]  q & 127: q = 128 hi + lo
    const float* scale;   // [n, stride / kBlock]
    const int32_t* sum16; // [n, stride / 16]  sums of 16 q
    const float* f32_sum16; // [n, stride / 16]  sums of 16 f32 (precise mode)
};

// What a thread reads before and behind a unit of work. Nothing is computed from it: only fetched ahead.
struct Neighbours {
    bool before;        // the thread has just done the unit before, or fetched the beginning of this one
    const void* behind; // the thread's next codes, or null
};

// How one scheme is computed at one level. All functions are pure: any thread, any order, same bits.
struct LinearOps {
    // decode regime. Tiles cover the output rows; a tile is the unit that threads take.
    int (*tile_count)(const Weight&);
    // first row and number of rows of a tile; rows <= kMaxTileRows; the last tile may pass `out` (padding)
    void (*tile_rows)(const Weight&, int tile, int* first, int* rows);
    // look-up tables from activations, shared by all tiles; null where the scheme has none
    size_t (*table_bytes)(const Weight&, int n);
    int (*table_parts)(const Weight&, int n);  // units that threads take
    void (*build_tables)(const Weight&, const Activations&, int part, void* tables);
    // y[r * ldy + i] = dot(weight row first + i, activations row r) for n <= kMaxGemvRows rows; all rows of the tile
    void (*gemv)(const Weight&, const Activations&, const void* tables, int tile, float* y, int ldy);
    // many rows: kPanelRows rows from first_row, inputs k0 .. k0 + k (multiples of 32), decoded as integers:
    // panel[(sub * k/2 + p) * 32 + 2 * lane + i] = round(w[first_row + 16 sub + lane, k0 + 2 p + i] / row_scale), |.| <= 8191
    void (*panel_i16)(const Weight&, int first_row, int k0, int k, int16_t* panel);
    void (*row_scales)(const Weight&, int first_row, float* row_scale);  // [kPanelRows]
    // the same as numbers: panel[(sub * k + p) * 16 + lane] = w[first_row + 16 sub + lane, k0 + p]
    void (*panel_f32)(const Weight&, int first_row, int k0, int k, float* panel);
    // integers made once at load (null: nothing to make)
    size_t (*derived_bytes)(const Weight&);
    void (*derive)(const Weight&, void* derived);
    // decode regime by slices of the inputs, instead of tiles and shared tables (null, or 0 units: by tiles)
    int (*slice_units)(const Weight&) = nullptr;
    size_t (*slice_floats)(const Weight&, int n) = nullptr;  // that a unit leaves
    void (*slice_sums)(const Weight&, const Activations&, int unit, const Neighbours&, float* sums) = nullptr;
    const void* (*slice_data)(const Weight&, int unit) = nullptr;  // where its codes begin
    // y[r * ldy + i] of rows first + i, i < rows (multiples of kPanelRows), from the sums [units, slice_floats] of all units
    void (*join_slices)(const Weight&, int n, const float* sums, int first, int rows, float* y, int ldy) = nullptr;
};

struct RopeArgs {
    int32_t n, heads, head_dim, rotary_dim;
    const float* cos;  // [n, rotary_dim / 2]
    const float* sin;
};

// KV cache of one layer. K is stored for 16 positions side by side: k[head][pos / 16][d][pos % 16]; V is v[head][pos][d].
// f16: 2-byte numbers. q8: int8 with one f16 scale per (head, position), for K and for V: ks, vs [head][capacity].
struct KvLayer {
    int32_t capacity;  // positions, a multiple of 16
    int32_t heads, head_dim;
    int32_t q8;        // 0: f16
    void *k, *v;
    uint16_t *ks, *vs;
};

struct AttentionArgs {
    int32_t n, q_heads, head_dim;
    int32_t committed;        // positions 0..committed-1 are seen by every row
    const uint64_t* mask;     // [n, mask_words]: bit j of row i: provisional cell committed + j is seen (itself included)
    int32_t mask_words;
    int32_t chain;            // 1: the mask is causal (row i sees provisional 0..i) and need not be read
    int32_t window;           // sliding window in positions, 0: none (then a cell further than window - 1 back is not seen)
    const int32_t* positions; // [n] of the provisional nodes (committed cell j has position j)
    float scale;
    const float* q;           // [n, q_heads * head_dim]
    float* out;               // [n, q_heads * head_dim]
};

// Vectors [n, group] and additive codebooks for the packer; entry z of codebook k is books[k][0..group][z].
constexpr int kMaxBeam = 8;
struct NearestArgs {
    int32_t group;          // 8 or 16
    int32_t entries;        // per codebook: a multiple of 16, at most 256
    int32_t num_codebooks;  // at most 8
    int32_t beam;           // 1..kMaxBeam
    const float* x;
    const float* books;     // [num_codebooks, group, entries]
    const float* norms;     // [num_codebooks, entries]: squared lengths
    uint8_t* codes;         // [n, num_codebooks]
    float* errors;          // [n]: |x - sum of its codewords|^2
};

// SpQR's column loop for the packer (ops/column.h). Columns are in the order in which they are visited; the damped Hessian
// is R R^T, R upper. Rows are taken kColumnRows at a time and do not depend on those of other runs.
constexpr int kColumnRows = 64;
struct ColumnArgs {
    int32_t out, in;
    int32_t bits;             // 3 or 4
    float price;              // of an outlier, in units of the squared output error; very large: no outliers
    const float* weight;      // [out, in]
    const float* feedback;    // [in, in]: [c, k] = R[k, c] / R[c, c] for k < c; the others are not read
    const float* importance;  // [in]: R[c, c]^2
    uint8_t* codes;           // [out, in]
    uint8_t *scale_codes, *zero_codes;  // [out, ceil(in/16)]
    uint16_t* statistics;     // [ceil(out/16), ceil(in/16), 4], f16: ss, sz, zs, zz
    uint16_t* sparse;         // [out, in], f16: what is added to the code's weight; 0: no outlier
    float* errors;            // [out]: squared output error of each row under R R^T
};

// A block of groups whose codes are searched one after the other (ops/search.h; reference/search.py says what is computed).
// First every group is prepared, then rows are searched.
struct SearchArgs {
    int32_t group;          // 8 or 16
    int32_t groups;
    int32_t entries;        // per codebook: a multiple of 16, at most 256
    int32_t num_codebooks;  // at most 8
    int32_t beam;           // 1..kMaxBeam
    const float* wanted;    // [rows, groups * group]
    const float* forward;   // [groups, group, group]
    const float* back;      // [groups, group, group] or null
    const float* later;     // [groups * group, groups * group]
    const float* books;     // [num_codebooks, group, entries]
    const uint8_t* held;    // [rows, groups, num_codebooks] or null
    float* fed;             // [rows, groups * group]: in: what groups before feed; out: what is left in the group's coordinates
    float* left;            // [rows, groups * group]: wanted minus the codewords
    uint8_t* codes;         // [rows, groups, num_codebooks]
    void* scratch;          // search_bytes, shared
};

// Everything one level offers.
struct Level {
    const char* name;
    const LinearOps* linear[7];  // by Scheme
    // Activations. One call prepares rows of `x` (row stride ldx), gathered through perm where given.
    void (*prepare)(const float* x, int ldx, int in, const uint32_t* perm, int row, float* f32, int16_t* q, int8_t* hi,
                    int8_t* lo, float* scale, int32_t* sum16, float* f32_sum16, int stride);
    // many rows: y[r * ldy + i] = row_scale[i] * sum over blocks of scale * (panel . q), added to what y holds;
    // panel covers inputs k0 .. k0 + k of kPanelRows rows; rows row0 .. row0 + n of the activations
    void (*gemm_i16)(const Activations&, int row0, int n, int k0, int k, const int16_t* panel, const float* row_scale,
                     float* y, int ldy);
    void (*gemm_f32)(const Activations&, int row0, int n, int k0, int k, const float* panel, float* y, int ldy);
    void (*rms_norm)(const float* x, const float* weight, int width, int weight_width, float eps, float* y);  // one row
    void (*rope)(const RopeArgs&, int row, float* x);                       // rotates halves, HF order, in place
    void (*swiglu)(const float* gate, const float* up, int width, float* y);  // silu(gate) * up, one row
    void (*add)(const float* x, int width, float* y);                       // y += x
    void (*store_kv)(const KvLayer&, int cell, const float* k, const float* v);  // one token: [heads * head_dim] each
    void (*move_kv)(const KvLayer&, int from, int to);                      // copies one cell
    // attention is cut in parts that do not depend on the number of threads; then merged
    int (*attention_parts)(const KvLayer&, const AttentionArgs&);
    size_t (*attention_scratch)(const KvLayer&, const AttentionArgs&);      // floats shared by parts and merge
    void (*attention_part)(const KvLayer&, const AttentionArgs&, int part, float* scratch);
    int (*attention_merges)(const KvLayer&, const AttentionArgs&);          // 0: parts wrote the output themselves
    void (*attention_merge)(const KvLayer&, const AttentionArgs&, int unit, const float* scratch);
    void (*softmax)(const float* x, int n, float* y);
    void (*top_k)(const float* x, int n, int k, int32_t* indices, float* values);  // descending; ties: lower index first
    void (*nearest_codes)(const NearestArgs&, int first, int n);  // vectors first .. first + n
    size_t (*column_scratch)(const ColumnArgs&);                                        // floats for one run of rows
    void (*quantize_columns)(const ColumnArgs&, int first_row, float* scratch);  // rows first_row .. + kColumnRows
    size_t (*search_bytes)(const SearchArgs&);
    void (*search_prepare)(const SearchArgs&, int group);
    void (*search_rows)(const SearchArgs&, int first, int n);  // rows first .. first + n
    uint32_t (*stream_read)(const void* p, size_t bytes);  // reads whole runs of 256 bytes, to measure the memory
};

const Level* level_scalar();
const Level* level_avx2();    // null where not compiled
const Level* level_avx512();  // AVX-512 F, BW, DQ, VL, VBMI, VNNI
const Level* level_neon();    // with dotprod

}  // namespace nutshell
