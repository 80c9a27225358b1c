/// Kernels for packed weights, convolutions and what stands behind them, conversions, and the two machine limits.
///
/// Every kernel has a portable version and, on x86-64, one for AVX2 + FMA + F16C; most have one for AVX-512 too. The
/// choice is made once, at load time. Unpacking gives the same bits in all. Sums are made in an order fixed by sizes alone,
/// so a result never depends on how work is shared among threads; the versions agree to rounding.
///
/// No kernel checks its sizes or allocates. Callers check that `columns` is a multiple of the packing's block.
#ifndef GRAFT_CKERNELS_H
#define GRAFT_CKERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__clang__)
#pragma clang assume_nonnull begin
#endif

/// How a row of a matrix is stored. `Weights/Packing.swift` documents the bytes of each.
typedef enum graft_packing {
  GRAFT_F32 = 0,
  GRAFT_F16,
  GRAFT_BF16,
  GRAFT_Q4_0,
  GRAFT_Q4_1,
  GRAFT_Q5_0,
  GRAFT_Q5_1,
  GRAFT_Q8_0,
  GRAFT_Q4_K,
  GRAFT_Q5_K,
  GRAFT_Q6_K,
  GRAFT_INT2,
  GRAFT_INT4,
  GRAFT_INT8,
  GRAFT_NF4,
  GRAFT_NF4_DOUBLE,
  GRAFT_GROUPED,
  GRAFT_PARTLY_BINARY,
  GRAFT_Q1_0,
  GRAFT_Q2_0,
  GRAFT_Q2_K,
  GRAFT_Q3_K,
  GRAFT_IQ4_NL,
  GRAFT_IQ4_XS,
  GRAFT_MXFP4,
  GRAFT_NVFP4,
} graft_packing;

/// How a scale or an offset of a group is stored.
typedef enum graft_number {
  GRAFT_NUMBER_F32 = 0,
  GRAFT_NUMBER_F16,
  GRAFT_NUMBER_BF16,
  /// A power of two, eight bits: 2^(byte - 127).
  GRAFT_NUMBER_E8M0,
} graft_number;

/// What is taken from a code before it is scaled, or added afterwards.
typedef enum graft_zero {
  /// `centre`.
  GRAFT_ZERO_NONE = 0,
  /// An integer of eight bits, one a group.
  GRAFT_ZERO_CODE,
  /// Nothing; a number is added to the product, one a group.
  GRAFT_ZERO_OFFSET,
} graft_zero;

/// How a row of GRAFT_GROUPED is made up; `Weights/GroupLayout.swift` documents the bytes.
typedef struct graft_layout {
  /// 1, 2, 3, 4 or 8.
  unsigned bits;
  graft_number scale;
  graft_zero zero;
  /// Whether a group is adjacent rows of one column, its numbers then being found at `graft_rows.shared`.
  bool by_output;
  float centre;
  /// What codes stand for, 2^bits values; codes are integers where there are none.
  const float *_Nullable levels;
} graft_layout;

/// A run of packed rows, all with the same packing and the same number of columns.
typedef struct graft_rows {
  graft_packing packing;
  /// Columns sharing a scale in GRAFT_INT2, GRAFT_INT4, GRAFT_INT8 and GRAFT_GROUPED, a multiple of 32, or rows where the
  /// layout goes by output; other packings ignore it.
  size_t group;
  size_t columns;
  /// Bytes from one row to the next.
  size_t row_bytes;
  const void *first;
  /// For GRAFT_GROUPED alone; and, where it goes by output, the groups' numbers and the first row's number.
  graft_layout layout;
  const void *_Nullable shared;
  size_t first_row;
} graft_rows;

/// What the kernels ask of the processor.
typedef enum graft_level {
  GRAFT_PORTABLE = 0,
  /// AVX2, FMA and F16C.
  GRAFT_AVX2,
  /// And AVX-512 F, BW, DQ and VL.
  GRAFT_AVX512,
} graft_level;

/// The highest level this processor has, whose kernels are in use; no higher than the environment's GRAFT_KERNELS, which
/// is "portable" or "avx2".
graft_level graft_processor_level(void);

/// Whether the AVX2 + FMA + F16C kernels are in use.
bool graft_uses_avx2(void);

/// Unpacks `count` rows into `values`, `[count, columns]`.
void graft_unpack(const graft_rows *rows, size_t count, float *values);

/// The dot product of the first row with `x`, `[columns]`.
float graft_dot(const graft_rows *rows, const float *x);

/// y = W x over `count` rows: `x` is `[columns]`, `y` is `[count]`. Each element has the bits `graft_dot` gives.
void graft_gemv(const graft_rows *rows, size_t count, const float *x, float *y);

/// The same by the kernels of `level`, or of the processor's where that is lower.
void graft_gemv_at(graft_level level, const graft_rows *rows, size_t count, const float *x, float *y);

/// The portable versions, for comparison.
void graft_portable_unpack(const graft_rows *rows, size_t count, float *values);
void graft_portable_gemv(const graft_rows *rows, size_t count, const float *x, float *y);

/// Rounds to half precision, nearest and ties to even; what is too large becomes infinite.
void graft_f16_from_f32(const float *values, uint16_t *halves, size_t count);
void graft_portable_f16_from_f32(const float *values, uint16_t *halves, size_t count);

/// Rounds to bfloat16, nearest and ties to even.
void graft_bf16_from_f32(const float *values, uint16_t *halves, size_t count);

/// One value of each conversion.
uint16_t graft_f16_bits(float value);
float graft_f16_value(uint16_t bits);
uint16_t graft_bf16_bits(float value);
float graft_bf16_value(uint16_t bits);

/// The sixteen levels of the 4-bit normal float, rising from -1 to 1.
const float *graft_nf4_levels(void);

/// The sixteen values of a 4-bit float of so many exponent bits, 1 to 3, by code: sign bit, exponent, fraction; the
/// smallest step of each is 1 but for 2 exponent bits, where it is ½.
const float *graft_fp4_levels(unsigned exponent_bits);

/// The sixteen values of bitsandbytes' 4-bit float, by code.
const float *graft_bnb_fp4_levels(void);

/// The sixteen levels of IQ4_NL and IQ4_XS, rising from -127 to 113.
const int8_t *graft_iq4_levels(void);

/// The 256 levels of the signed dynamic 8-bit map in which nested block maxima are stored, rising.
const float *graft_dynamic_levels(void);

/// Sets result[i] = start + Σ weights[t] source[i + places[t]] for `length` places, a multiple of 32.
void graft_weigh(const float *source, const long *places, const float *weights, size_t count, float start,
                 size_t length, float *result);

/// Adds to weights[t] what a gradient of such a result carries back to it: Σ gradient[i] source[i + places[t]] over
/// `length` places, a multiple of 16.
void graft_weigh_back(const float *source, const long *places, const float *gradient, size_t count, size_t length,
                      float *weights);

/// Sets y[i] = x[i] factor + shift + added[i].
void graft_affine(const float *x, size_t count, float factor, float shift, const float *_Nullable added, float *y);

/// The same clamped to [0, ceiling]; bit i of the mask, from each byte's lowest on, tells whether it lay strictly inside.
void graft_clamp(const float *x, size_t count, float factor, float shift, const float *_Nullable added, float ceiling,
                 uint8_t *_Nullable mask, float *y);

/// Sets place[i], or adds to it, gradient[i] factor where the bit is set, or everywhere without a mask; elsewhere zero.
void graft_clamp_back(const float *gradient, size_t count, float factor, const uint8_t *_Nullable mask, float *place,
                      bool accumulates);

/// A convolution of 3 x 3 that moves by one, over images of `inputs` planes one behind another.
typedef struct graft_winograd {
  /// Whose kernels run; none above the processor's.
  graft_level level;
  size_t inputs, outputs;
  /// Of an input plane, and the rows and columns of zeros before it.
  size_t height, width, top, left;
  size_t output_height, output_width;
  /// Floats from one image to the next.
  size_t input_stride, output_stride;
  /// The last of the outputs, which go to an array of their own, image after image.
  size_t beside;
  /// Whether the result, but for what goes beside, is added to what is there.
  bool accumulates;
} graft_winograd;

/// Floats that the transformed filters take.
size_t graft_winograd_filter_count(const graft_winograd *w);

/// Floats of scratch memory for `count` rows of tiles.
size_t graft_winograd_scratch_count(const graft_winograd *w, size_t count);

/// Transforms the filters of `count` outputs from `first` on, both multiples of eight or up to the last.
///
/// `weight` holds these alone, `[count, inputs, 3, 3]` with `distance` floats from one to the next; if transposed it is
/// `[inputs, count, 3, 3]`, with `distance` floats from one input to the next, and turned half round, as a gradient of the
/// input needs it.
void graft_winograd_filters(const graft_winograd *w, const float *weight, size_t distance, bool is_transposed,
                            size_t first, size_t count, float *filters);

/// Convolves `count` rows of tiles from `first` on; a row of tiles is two rows of output, those of one image after those
/// of another. A result's bits depend on neither.
void graft_winograd_convolve(const graft_winograd *w, const float *filters, const float *x, size_t first, size_t count,
                             const float *_Nullable bias, float *y, float *_Nullable beside, float *scratch);

/// Products of rows, each a run of floats in every image, with columns that are the same.
typedef struct graft_correlation {
  /// Whose kernels run; none above the processor's.
  graft_level level;
  size_t rows, columns, images;
  /// Floats of a run.
  size_t length;
  /// Floats from one row to the next, and from one image's rows to the next one's.
  size_t row_pitch, row_stride;
  /// Floats from one image's columns to the next one's.
  size_t column_stride;
  /// What each product is multiplied by.
  float scale;
  /// From one row's results to the next one's, and from one column's to the next one's.
  size_t row_step, column_step;
} graft_correlation;

/// Adds to each result the sum, over images, of its row of `x` times its column of `y`, which starts at the place given.
void graft_correlate(const graft_correlation *c, const float *x, const float *y, const long *places, float *result);

/// A plane taken apart by a stride: of the padded plane, position (i s + p, j s + q) is place (i, j) of phase (p, q).
typedef struct graft_phases {
  size_t height, width, top, left;
  size_t stride;
  /// Rows of a phase, places from one to the next, and floats from one phase to the next.
  size_t rows, pitch, size;
} graft_phases;

/// Lays out a plane in stride² phases, `around` where there is nothing of it.
void graft_lay(const graft_phases *p, const float *x, float around, float *laid);

/// Puts a plane together again from its phases, or adds it to what is there; what no phase holds is zero.
void graft_unlay(const graft_phases *p, const float *laid, float *x, bool accumulates);

/// Puts, or adds, rows of `width` that lie `pitch` apart one behind another.
void graft_gather(const float *laid, size_t pitch, size_t rows, size_t width, float *y, bool accumulates);

/// A square window that slides over a plane, which it may overhang by less than itself.
typedef struct graft_pool {
  size_t height, width, top, left;
  /// At most 256.
  size_t kernel;
  size_t stride, output_height, output_width;
} graft_pool;

/// Floats of scratch memory for a plane.
size_t graft_pool_scratch_count(const graft_pool *p);

/// The largest number under each window of a plane, and which of its taps that was: row times 256 plus column, the first
/// of equals. A number that is not one wins.
void graft_max_pool(const graft_pool *p, const float *x, float *y, uint16_t *_Nullable winners, float *scratch);

/// Adds each window's gradient to the plane, where its winner was.
void graft_max_pool_back(const graft_pool *p, const float *gradient, const uint16_t *winners, float *x);

/// What OpenBLAS calls the kernels it runs, such as SkylakeX; empty where it is not linked.
const char *graft_blas_core(void);

/// Multiply-adds a second one core sustains, in GFLOP/s, from a loop of about `seconds`.
double graft_fma_peak(double seconds);

/// Bytes a second one core reads from `buffer`, in GB/s, from passes over it taking about `seconds`.
double graft_read_bandwidth(const void *buffer, size_t bytes, double seconds);

#if defined(__clang__)
#pragma clang assume_nonnull end
#endif

#ifdef __cplusplus
}
#endif

#endif
