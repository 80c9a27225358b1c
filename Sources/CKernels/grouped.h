/// Rows of GRAFT_GROUPED: one body, which the portable and the AVX2 kernels each compile for themselves.
#ifndef GRAFT_GROUPED_H
#define GRAFT_GROUPED_H

#include "kernels.h"

/// The 32 codes at `p`, of `bits` bits: those of two bits lie as in GRAFT_INT2, those of four as in GRAFT_INT4, those of
/// three as two bits and then 32 third bits.
GRAFT_INLINE void grouped_codes(const uint8_t *p, unsigned bits, uint8_t *restrict codes) {
  switch (bits) {
    case 1:
      for (int i = 0; i < 32; i++) codes[i] = (p[i / 8] >> (i % 8)) & 1;
      return;
    case 2:
      for (int part = 0; part < 4; part++)
        for (int i = 0; i < 8; i++) codes[8 * part + i] = (p[i] >> (2 * part)) & 3;
      return;
    case 3:
      for (int part = 0; part < 4; part++)
        for (int i = 0; i < 8; i++) {
          codes[8 * part + i] = (uint8_t)(((p[i] >> (2 * part)) & 3) | ((p[8 + part] >> i) & 1) << 2);
        }
      return;
    case 4:
      for (int i = 0; i < 16; i++) {
        codes[i] = p[i] & 15;
        codes[i + 16] = p[i] >> 4;
      }
      return;
    default:
      memcpy(codes, p, 32);
  }
}

GRAFT_INLINE size_t number_bytes(graft_number kind) {
  return kind == GRAFT_NUMBER_F32 ? 4 : kind == GRAFT_NUMBER_E8M0 ? 1 : 2;
}

GRAFT_INLINE float load_number(const uint8_t *p, graft_number kind) {
  switch (kind) {
    case GRAFT_NUMBER_F32: return load_f32(p);
    case GRAFT_NUMBER_F16: return f16_value(load_u16(p));
    case GRAFT_NUMBER_BF16: return bf16_value(load_u16(p));
    // The smallest power, 2^-127, lies below the normal numbers.
    default: return *p == 0 ? 0x1p-127f : float_of_bits((uint32_t)*p << 23);
  }
}

/// Bytes of a group's zero.
GRAFT_INLINE size_t zero_bytes(const graft_layout *layout) {
  return layout->zero == GRAFT_ZERO_NONE ? 0 : layout->zero == GRAFT_ZERO_CODE ? 1 : number_bytes(layout->scale);
}

/// The 32 values of run `run` of row `r`.
GRAFT_INLINE void grouped_run(const graft_rows *rows, size_t r, size_t run, float *restrict out) {
  const graft_layout *layout = &rows->layout;
  const uint8_t *row = (const uint8_t *)rows->first + r * rows->row_bytes;
  const size_t columns = rows->columns, scale_size = number_bytes(layout->scale);
  uint8_t codes[32];
  grouped_codes(row + run * 4 * layout->bits, layout->bits, codes);
  if (layout->levels) {
    for (int i = 0; i < 32; i++) out[i] = layout->levels[codes[i]];
  } else if (layout->bits == 8 && layout->zero == GRAFT_ZERO_NONE) {
    for (int i = 0; i < 32; i++) out[i] = (float)(int8_t)codes[i];
  } else {
    for (int i = 0; i < 32; i++) out[i] = (float)codes[i];
  }
  if (layout->by_output) {
    const size_t record = columns * (scale_size + zero_bytes(layout));
    const uint8_t *scales = (const uint8_t *)rows->shared + (rows->first_row + r) / rows->group * record;
    const uint8_t *zeros = scales + columns * scale_size;
    for (size_t i = 0; i < 32; i++) {
      const size_t c = 32 * run + i;
      const float scale = load_number(scales + c * scale_size, layout->scale);
      if (layout->zero == GRAFT_ZERO_OFFSET) {
        const float scaled = scale * out[i];
        out[i] = scaled + load_number(zeros + c * scale_size, layout->scale);
      } else {
        out[i] = scale * (out[i] - (layout->zero == GRAFT_ZERO_CODE ? (float)zeros[c] : layout->centre));
      }
    }
    return;
  }
  const uint8_t *record =
      row + columns / 8 * layout->bits + run * 32 / rows->group * (scale_size + zero_bytes(layout));
  const float scale = load_number(record, layout->scale);
  if (layout->zero == GRAFT_ZERO_OFFSET) {
    const float offset = load_number(record + scale_size, layout->scale);
    for (int i = 0; i < 32; i++) {
      const float scaled = scale * out[i];
      out[i] = scaled + offset;
    }
  } else {
    const float zero = layout->zero == GRAFT_ZERO_CODE ? (float)record[scale_size] : layout->centre;
    for (int i = 0; i < 32; i++) out[i] = scale * (out[i] - zero);
  }
}

GRAFT_INLINE void grouped_unpack(const graft_rows *rows, size_t count, float *values) {
  for (size_t r = 0; r < count; r++) {
    for (size_t run = 0; run < rows->columns / 32; run++) grouped_run(rows, r, run, values + r * rows->columns + 32 * run);
  }
}

GRAFT_INLINE void grouped_gemv(const graft_rows *rows, size_t count, const float *x, float *y) {
  for (size_t r = 0; r < count; r++) {
    float lanes[8] = {0}, values[32];
    for (size_t run = 0; run < rows->columns / 32; run++) {
      grouped_run(rows, r, run, values);
      add_run(lanes, values, x + 32 * run);
    }
    y[r] = sum_of_eight(lanes);
  }
}

#endif
