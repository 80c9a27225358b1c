/// Unpacking and dot products in plain C: the reference for every other version.
#include "grouped.h"
#include "kernels.h"
#include "partly_binary.h"

#define RUN 32

/// Unpacks the 32 values of run `run` of a row.
typedef void (*run_decoder)(row_view row, size_t run, float *out);

static void decode_f32(row_view row, size_t run, float *out) { memcpy(out, row.bytes + run * RUN * 4, RUN * 4); }

static void decode_f16(row_view row, size_t run, float *out) {
  for (size_t i = 0; i < RUN; i++) out[i] = f16_value(load_u16(row.bytes + 2 * (run * RUN + i)));
}

static void decode_bf16(row_view row, size_t run, float *out) {
  for (size_t i = 0; i < RUN; i++) out[i] = bf16_value(load_u16(row.bytes + 2 * (run * RUN + i)));
}

static void decode_q4_0(row_view row, size_t run, float *out) {
  const uint8_t *block = row.bytes + 18 * run;
  const float d = f16_value(load_u16(block));
  for (int i = 0; i < 16; i++) {
    out[i] = d * (float)((block[2 + i] & 15) - 8);
    out[i + 16] = d * (float)((block[2 + i] >> 4) - 8);
  }
}

static void decode_q4_1(row_view row, size_t run, float *out) {
  const uint8_t *block = row.bytes + 20 * run;
  const float d = f16_value(load_u16(block)), m = f16_value(load_u16(block + 2));
  for (int i = 0; i < 16; i++) {
    const float low = d * (float)(block[4 + i] & 15), high = d * (float)(block[4 + i] >> 4);
    out[i] = low + m;
    out[i + 16] = high + m;
  }
}

static void decode_q5_0(row_view row, size_t run, float *out) {
  const uint8_t *block = row.bytes + 22 * run;
  const float d = f16_value(load_u16(block));
  const uint32_t high = load_u32(block + 2);
  for (int i = 0; i < 16; i++) {
    const int first = (block[6 + i] & 15) | (int)((high >> i) & 1) << 4;
    const int second = (block[6 + i] >> 4) | (int)((high >> (i + 16)) & 1) << 4;
    out[i] = d * (float)(first - 16);
    out[i + 16] = d * (float)(second - 16);
  }
}

static void decode_q5_1(row_view row, size_t run, float *out) {
  const uint8_t *block = row.bytes + 24 * run;
  const float d = f16_value(load_u16(block)), m = f16_value(load_u16(block + 2));
  const uint32_t high = load_u32(block + 4);
  for (int i = 0; i < 16; i++) {
    const float first = d * (float)((block[8 + i] & 15) | (int)((high >> i) & 1) << 4);
    const float second = d * (float)((block[8 + i] >> 4) | (int)((high >> (i + 16)) & 1) << 4);
    out[i] = first + m;
    out[i + 16] = second + m;
  }
}

static void decode_q8_0(row_view row, size_t run, float *out) {
  const uint8_t *block = row.bytes + 34 * run;
  const float d = f16_value(load_u16(block));
  for (int i = 0; i < RUN; i++) out[i] = d * (float)(int8_t)block[2 + i];
}

/// Scale and minimum of sub-block `j`, each the product of the super-block's half float and a 6-bit integer.
static scale_minimum sub_block(const uint8_t *block, size_t j) {
  uint32_t scale, minimum;
  sub_block_integers(block + 4, j, &scale, &minimum);
  return (scale_minimum){f16_value(load_u16(block)) * (float)scale, f16_value(load_u16(block + 2)) * (float)minimum};
}

static void decode_q4_k(row_view row, size_t run, float *out) {
  const uint8_t *block = row.bytes + 144 * (run / 8);
  const size_t j = run % 8;
  const scale_minimum s = sub_block(block, j);
  const uint8_t *codes = block + 16 + 32 * (j / 2);
  for (int i = 0; i < RUN; i++) {
    const float scaled = s.scale * (float)((codes[i] >> (4 * (j & 1))) & 15);
    out[i] = scaled - s.minimum;
  }
}

static void decode_q5_k(row_view row, size_t run, float *out) {
  const uint8_t *block = row.bytes + 176 * (run / 8);
  const size_t j = run % 8;
  const scale_minimum s = sub_block(block, j);
  const uint8_t *high = block + 16, *codes = block + 48 + 32 * (j / 2);
  for (int i = 0; i < RUN; i++) {
    const int code = ((codes[i] >> (4 * (j & 1))) & 15) | ((high[i] >> j) & 1) << 4;
    const float scaled = s.scale * (float)code;
    out[i] = scaled - s.minimum;
  }
}

static void decode_q6_k(row_view row, size_t run, float *out) {
  const uint8_t *block = row.bytes + 210 * (run / 8);
  const size_t j = run % 8, half = j / 4, quarter = j % 4;
  const uint8_t *low = block + 64 * half + 32 * (quarter & 1), *high = block + 128 + 32 * half;
  const float d = f16_value(load_u16(block + 208));
  for (int i = 0; i < RUN; i++) {
    const float scale = d * (float)(int8_t)block[192 + 2 * j + (size_t)(i / 16)];
    const int code = ((low[i] >> (4 * (quarter / 2))) & 15) | ((high[i] >> (2 * quarter)) & 3) << 4;
    out[i] = scale * (float)(code - 32);
  }
}

static void decode_int2(row_view row, size_t run, float *out) {
  const uint8_t *codes = row.bytes + 8 * run;
  const uint8_t *affine = row.bytes + row.columns / 4 + 4 * (run * RUN / row.group);
  const float d = bf16_value(load_u16(affine)), m = bf16_value(load_u16(affine + 2));
  for (int i = 0; i < RUN; i++) {
    const float scaled = d * (float)((codes[i % 8] >> (2 * (i / 8))) & 3);
    out[i] = scaled + m;
  }
}

static void decode_int4(row_view row, size_t run, float *out) {
  const uint8_t *codes = row.bytes + 16 * run;
  const uint8_t *affine = row.bytes + row.columns / 2 + 4 * (run * RUN / row.group);
  const float d = bf16_value(load_u16(affine)), m = bf16_value(load_u16(affine + 2));
  for (int i = 0; i < 16; i++) {
    const float low = d * (float)(codes[i] & 15), high = d * (float)(codes[i] >> 4);
    out[i] = low + m;
    out[i + 16] = high + m;
  }
}

static void decode_int8(row_view row, size_t run, float *out) {
  const uint8_t *codes = row.bytes + RUN * run;
  const float d = load_f32(row.bytes + row.columns + 4 * (run * RUN / row.group));
  for (int i = 0; i < RUN; i++) out[i] = d * (float)(int8_t)codes[i];
}

static void decode_levels(const uint8_t *codes, float maximum, float *out) {
  for (int i = 0; i < 16; i++) {
    out[2 * i] = graft_nf4_table[codes[i] >> 4] * maximum;
    out[2 * i + 1] = graft_nf4_table[codes[i] & 15] * maximum;
  }
}

static void decode_nf4(row_view row, size_t run, float *out) {
  decode_levels(row.bytes + 16 * run, load_f32(row.bytes + row.columns / 2 + 4 * (run / 2)), out);
}

static void decode_nf4_double(row_view row, size_t run, float *out) {
  decode_levels(row.bytes + 16 * run, nested_maximum(row, run / 2), out);
}

static void decode_q1_0(row_view row, size_t run, float *out) {
  const uint8_t *block = row.bytes + 18 * (run / 4);
  const float d = f16_value(load_u16(block));
  const uint32_t bits = load_u32(block + 2 + 4 * (run % 4));
  for (int i = 0; i < RUN; i++) out[i] = (bits >> i) & 1 ? d : -d;
}

static void decode_q2_0(row_view row, size_t run, float *out) {
  const uint8_t *block = row.bytes + 18 * (run / 2), *codes = block + 2 + 8 * (run % 2);
  const float d = f16_value(load_u16(block));
  for (int i = 0; i < RUN; i++) out[i] = d * (float)(((codes[i / 4] >> (2 * (i % 4))) & 3) - 1);
}

static void decode_q2_k(row_view row, size_t run, float *out) {
  const uint8_t *block = row.bytes + 84 * (run / 8);
  const size_t j = run % 8;
  const uint8_t *codes = block + 16 + 32 * (j / 4);
  const float d = f16_value(load_u16(block + 80)), lower = f16_value(load_u16(block + 82));
  for (int i = 0; i < RUN; i++) {
    const uint8_t packed = block[2 * j + (size_t)(i / 16)];
    const float scale = d * (float)(packed & 15), minimum = lower * (float)(packed >> 4);
    const float scaled = scale * (float)((codes[i] >> (2 * (j % 4))) & 3);
    out[i] = scaled - minimum;
  }
}

/// The 6-bit scale of sub-block `j` of a Q3_K block, spread over the twelve bytes at `packed`.
static int three_bit_scale(const uint8_t *packed, size_t j) {
  const int low = j < 8 ? packed[j] & 15 : packed[j - 8] >> 4;
  return (low | ((packed[8 + j % 4] >> (2 * (j / 4))) & 3) << 4) - 32;
}

static void decode_q3_k(row_view row, size_t run, float *out) {
  const uint8_t *block = row.bytes + 110 * (run / 8);
  const size_t j = run % 8;
  const uint8_t *high = block, *codes = block + 32 + 32 * (j / 4);
  const float d = f16_value(load_u16(block + 108));
  for (int i = 0; i < RUN; i++) {
    const float scale = d * (float)three_bit_scale(block + 96, 2 * j + (size_t)(i / 16));
    const int code = ((codes[i] >> (2 * (j % 4))) & 3) | ((high[i] >> j) & 1) << 2;
    out[i] = scale * (float)(code - 4);
  }
}

/// Sixteen bytes of nibbles that choose a level, the first half of the values in the low ones.
static void decode_table(const uint8_t *codes, const int8_t *table, float scale, float *out) {
  for (int i = 0; i < 16; i++) {
    out[i] = scale * (float)table[codes[i] & 15];
    out[i + 16] = scale * (float)table[codes[i] >> 4];
  }
}

static void decode_iq4_nl(row_view row, size_t run, float *out) {
  const uint8_t *block = row.bytes + 18 * run;
  decode_table(block + 2, graft_iq4_table, f16_value(load_u16(block)), out);
}

static void decode_iq4_xs(row_view row, size_t run, float *out) {
  const uint8_t *block = row.bytes + 136 * (run / 8);
  const size_t j = run % 8;
  const int low = (block[4 + j / 2] >> (4 * (j % 2))) & 15, high = (load_u16(block + 2) >> (2 * j)) & 3;
  const float scale = f16_value(load_u16(block)) * (float)((low | high << 4) - 32);
  decode_table(block + 8 + 16 * j, graft_iq4_table, scale, out);
}

static void decode_mxfp4(row_view row, size_t run, float *out) {
  const uint8_t *block = row.bytes + 17 * run;
  decode_table(block + 1, graft_fp4_table, half_power(block[0]), out);
}

static void decode_nvfp4(row_view row, size_t run, float *out) {
  const uint8_t *block = row.bytes + 36 * (run / 2), *codes = block + 4 + 16 * (run % 2);
  for (size_t half = 0; half < 2; half++) {
    const float scale = half_scale(block[2 * (run % 2) + half]);
    for (size_t i = 0; i < 8; i++) {
      out[16 * half + i] = scale * (float)graft_fp4_table[codes[8 * half + i] & 15];
      out[16 * half + i + 8] = scale * (float)graft_fp4_table[codes[8 * half + i] >> 4];
    }
  }
}

static const run_decoder decoders[] = {
    [GRAFT_F32] = decode_f32,   [GRAFT_F16] = decode_f16,   [GRAFT_BF16] = decode_bf16,
    [GRAFT_Q4_0] = decode_q4_0, [GRAFT_Q4_1] = decode_q4_1, [GRAFT_Q5_0] = decode_q5_0,
    [GRAFT_Q5_1] = decode_q5_1, [GRAFT_Q8_0] = decode_q8_0, [GRAFT_Q4_K] = decode_q4_k,
    [GRAFT_Q5_K] = decode_q5_k, [GRAFT_Q6_K] = decode_q6_k, [GRAFT_INT2] = decode_int2,
    [GRAFT_INT4] = decode_int4, [GRAFT_INT8] = decode_int8, [GRAFT_NF4] = decode_nf4,
    [GRAFT_NF4_DOUBLE] = decode_nf4_double,
    [GRAFT_Q1_0] = decode_q1_0,     [GRAFT_Q2_0] = decode_q2_0,     [GRAFT_Q2_K] = decode_q2_k,
    [GRAFT_Q3_K] = decode_q3_k,     [GRAFT_IQ4_NL] = decode_iq4_nl, [GRAFT_IQ4_XS] = decode_iq4_xs,
    [GRAFT_MXFP4] = decode_mxfp4,   [GRAFT_NVFP4] = decode_nvfp4,
};

/// The value at column `i` of a row of plain floats, whose columns need not fill a run.
static float plain_value(graft_packing packing, const uint8_t *row, size_t i) {
  if (packing == GRAFT_F32) return load_f32(row + 4 * i);
  const uint16_t bits = load_u16(row + 2 * i);
  return packing == GRAFT_F16 ? f16_value(bits) : bf16_value(bits);
}

void graft_portable_unpack(const graft_rows *rows, size_t count, float *values) {
  if (rows->packing == GRAFT_GROUPED) return grouped_unpack(rows, count, values);
  if (rows->packing == GRAFT_PARTLY_BINARY) return partly_binary_unpack(rows, count, values);
  const run_decoder decode = decoders[rows->packing];
  const size_t runs = rows->columns / RUN;
  for (size_t r = 0; r < count; r++) {
    const row_view row = {(const uint8_t *)rows->first + r * rows->row_bytes, rows->columns, rows->group};
    float *out = values + r * rows->columns;
    for (size_t run = 0; run < runs; run++) decode(row, run, out + run * RUN);
    for (size_t i = runs * RUN; i < rows->columns; i++) out[i] = plain_value(rows->packing, row.bytes, i);
  }
}

void graft_portable_gemv(const graft_rows *rows, size_t count, const float *x, float *y) {
  if (rows->packing == GRAFT_GROUPED) return grouped_gemv(rows, count, x, y);
  if (rows->packing == GRAFT_PARTLY_BINARY) return partly_binary_gemv(rows, count, x, y);
  const run_decoder decode = decoders[rows->packing];
  const size_t runs = rows->columns / RUN;
  for (size_t r = 0; r < count; r++) {
    const row_view row = {(const uint8_t *)rows->first + r * rows->row_bytes, rows->columns, rows->group};
    float lanes[8] = {0}, values[RUN];
    for (size_t run = 0; run < runs; run++) {
      decode(row, run, values);
      for (size_t i = 0; i < RUN; i++) lanes[i % 8] += values[i] * x[run * RUN + i];
    }
    float sum = ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
    for (size_t i = runs * RUN; i < rows->columns; i++) sum += plain_value(rows->packing, row.bytes, i) * x[i];
    y[r] = sum;
  }
}
