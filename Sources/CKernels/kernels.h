/// What the portable kernels and those for wider registers share: field access, the affine form of each packing, tables.
#ifndef GRAFT_KERNELS_H
#define GRAFT_KERNELS_H

#include <string.h>

#include "CKernels.h"

// Unpacked values are specified as separately rounded products and sums; a compiler may not fuse them.
#pragma STDC FP_CONTRACT OFF

#define GRAFT_INLINE static inline __attribute__((always_inline))

extern const float graft_nf4_table[16];
extern const int8_t graft_iq4_table[16];
/// Twice the values of a 4-bit float: a sign, two bits of exponent, one of fraction (E2M1).
extern const int8_t graft_fp4_table[16];
extern float graft_dynamic_table[256];

/// A row and where its second part starts: the packings of this library keep codes first, then scales.
typedef struct row_view {
  const uint8_t *bytes;
  size_t columns;
  size_t group;
} row_view;

/// Scale and minimum of one of the eight 32-value sub-blocks of a Q4_K or Q5_K super-block.
typedef struct scale_minimum {
  float scale;
  float minimum;
} scale_minimum;

GRAFT_INLINE uint16_t load_u16(const uint8_t *p) {
  uint16_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

GRAFT_INLINE uint32_t load_u32(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

GRAFT_INLINE float load_f32(const uint8_t *p) {
  float v;
  memcpy(&v, p, sizeof v);
  return v;
}

GRAFT_INLINE float float_of_bits(uint32_t bits) {
  float v;
  memcpy(&v, &bits, sizeof v);
  return v;
}

GRAFT_INLINE uint32_t bits_of_float(float value) {
  uint32_t v;
  memcpy(&v, &value, sizeof v);
  return v;
}

GRAFT_INLINE float bf16_value(uint16_t bits) { return float_of_bits((uint32_t)bits << 16); }

GRAFT_INLINE float f16_value(uint16_t bits) {
  const uint32_t sign = (uint32_t)(bits & 0x8000) << 16;
  const uint32_t exponent = (bits >> 10) & 31, fraction = bits & 0x3ff;
  if (exponent == 31) {
    return float_of_bits(sign | 0x7f800000 | (fraction << 13) | (fraction ? 0x400000 : 0));
  }
  if (exponent == 0) {
    return float_of_bits(sign | bits_of_float((float)fraction * 0x1p-24f));
  }
  return float_of_bits(sign | ((exponent + 112) << 23) | (fraction << 13));
}

/// The 6-bit scale and minimum of sub-block `j`, spread over the twelve bytes at `packed`.
GRAFT_INLINE void sub_block_integers(const uint8_t *packed, size_t j, uint32_t *scale, uint32_t *minimum) {
  if (j < 4) {
    *scale = packed[j] & 63;
    *minimum = packed[j + 4] & 63;
  } else {
    *scale = (uint32_t)(packed[j + 4] & 15) | (uint32_t)(packed[j - 4] >> 6) << 4;
    *minimum = (uint32_t)(packed[j + 4] >> 4) | (uint32_t)(packed[j] >> 6) << 4;
  }
}

/// Half of the power of two that the exponent of an MXFP4 block stands for: 2^(e - 128).
GRAFT_INLINE float half_power(uint8_t e) {
  // The first two lie below the normal numbers.
  return float_of_bits(e < 2 ? (uint32_t)0x00200000 << e : (uint32_t)(e - 1) << 23);
}

/// Half of an NVFP4 scale, a float of four bits of exponent and three of fraction; its not-a-number counts as zero.
GRAFT_INLINE float half_scale(uint8_t bits) {
  const uint32_t exponent = (bits >> 3) & 15, fraction = bits & 7;
  if (bits == 0x7f) return 0;
  return exponent ? float_of_bits((exponent + 119) << 23 | fraction << 20) : (float)fraction * 0x1p-10f;
}

/// The largest magnitude of block `block` of an NF4 row whose maxima are themselves stored in eight bits.
///
/// After the codes come: one byte a block, then one float per 256 blocks (their scale), then one float (offset).
GRAFT_INLINE float nested_maximum(row_view row, size_t block) {
  const size_t blocks = row.columns / 64, scales = (blocks + 255) / 256;
  const uint8_t *codes = row.bytes + row.columns / 2;
  const float scale = load_f32(codes + blocks + 4 * (block / 256));
  const float offset = load_f32(codes + blocks + 4 * scales);
  const float product = graft_dynamic_table[codes[block]] * scale;
  return product + offset;
}

/// Adds the products of 32 values with `x` to eight lanes.
GRAFT_INLINE void add_run(float *restrict lanes, const float *restrict values, const float *restrict x) {
  for (size_t k = 0; k < 4; k++) {
    for (size_t i = 0; i < 8; i++) {
      const float product = values[8 * k + i] * x[8 * k + i];
      lanes[i] += product;
    }
  }
}

GRAFT_INLINE float sum_of_eight(const float *lanes) {
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

#if defined(__x86_64__)
void graft_avx2_unpack(const graft_rows *rows, size_t count, float *values);
void graft_avx2_gemv(const graft_rows *rows, size_t count, const float *x, float *y);
void graft_avx512_gemv(const graft_rows *rows, size_t count, const float *x, float *y);
void graft_avx2_f16_from_f32(const float *values, uint16_t *halves, size_t count);
uint64_t graft_avx2_fma_loop(uint64_t rounds, float *sink);
uint64_t graft_avx2_read(const void *buffer, size_t bytes);
#endif

#endif
