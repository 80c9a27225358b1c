/// Rows of GRAFT_PARTLY_BINARY: one body, which the portable and the AVX2 kernels each compile for themselves.
#ifndef GRAFT_PARTLY_BINARY_H
#define GRAFT_PARTLY_BINARY_H

#include "kernels.h"

/// The 32 values of run `run` of a row; `*next` is the first byte not yet taken of those of the salient columns.
GRAFT_INLINE void partly_binary_run(const uint8_t *row, size_t columns, size_t run, const uint8_t **next,
                                    float *restrict out) {
  const uint32_t salient = load_u32(row + 4 * run), signs = load_u32(row + columns / 8 + 4 * run);
  const uint8_t *numbers = row + columns / 4;
  const float mean = load_f32(numbers), magnitude = load_f32(numbers + 4);
  const float scale = load_f32(numbers + 8), offset = load_f32(numbers + 12);
  for (int i = 0; i < 32; i++) out[i] = (signs >> i) & 1 ? mean + magnitude : mean - magnitude;
  for (uint32_t left = salient; left; left &= left - 1) {
    const float scaled = scale * (float)*(*next)++;
    out[__builtin_ctz(left)] = scaled + offset;
  }
}

GRAFT_INLINE const uint8_t *salient_bytes(const uint8_t *row, size_t columns) { return row + columns / 4 + 16; }

GRAFT_INLINE void partly_binary_unpack(const graft_rows *rows, size_t count, float *values) {
  for (size_t r = 0; r < count; r++) {
    const uint8_t *row = (const uint8_t *)rows->first + r * rows->row_bytes, *next = salient_bytes(row, rows->columns);
    for (size_t run = 0; run < rows->columns / 32; run++) {
      partly_binary_run(row, rows->columns, run, &next, values + r * rows->columns + 32 * run);
    }
  }
}

GRAFT_INLINE void partly_binary_gemv(const graft_rows *rows, size_t count, const float *x, float *y) {
  for (size_t r = 0; r < count; r++) {
    const uint8_t *row = (const uint8_t *)rows->first + r * rows->row_bytes, *next = salient_bytes(row, rows->columns);
    float lanes[8] = {0}, values[32];
    for (size_t run = 0; run < rows->columns / 32; run++) {
      partly_binary_run(row, rows->columns, run, &next, values);
      add_run(lanes, values, x + 32 * run);
    }
    y[r] = sum_of_eight(lanes);
  }
}

#endif
