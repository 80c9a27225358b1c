/// The kernels for x86-64 processors with AVX2, FMA and F16C.
///
/// Every packing is taken as runs of 32 values of one form, codes times a scale plus a minimum, so one loop unpacks
/// and one multiplies; only the decoding of a run differs. Four rows go together to share `x` and its sums, and each
/// row's operations are the same whether it goes alone or with others.
#include "kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)

// Inside, so that its bodies are compiled for this processor too.
#include "grouped.h"
#include "partly_binary.h"

/// Values `q * scale + minimum`, in order, eight to a vector; the second pair is for the last sixteen of a halved run.
typedef struct run {
  __m256 q[4];
  __m256 scale, second, minimum, second_minimum;
} run;

/// What the values of a run are made of.
typedef enum form {
  form_plain,          // q
  form_scaled,         // (q - bias) * scale
  form_halved,         // (q - bias) * scale, sixteen values to a scale
  form_affine,         // q * scale + minimum
  form_halved_affine,  // q * scale + minimum, sixteen values to a scale and a minimum
} form;

GRAFT_INLINE bool is_halved(form f) { return f == form_halved || f == form_halved_affine; }

/// What the runs of a block share: a scale and an offset, or their scales, followed in the affine forms by as many
/// minima taken negative.
typedef struct sub_blocks {
  float numbers[32];
} sub_blocks;

/// Unpacks what the runs of block `block` share; the packings without super-blocks share nothing.
typedef void (*block_opener)(row_view row, size_t block, sub_blocks *out);

/// Decodes run `j` of block `block`.
typedef void (*run_decoder)(row_view row, size_t block, size_t j, const sub_blocks *shared, run *out);

GRAFT_INLINE __m256 broadcast_f16(const uint8_t *p) { return _mm256_cvtph_ps(_mm_set1_epi16((short)load_u16(p))); }

GRAFT_INLINE __m256i widen8(const uint8_t *p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)); }

/// Sixteen bytes of nibbles: low nibbles are the first sixteen values, high nibbles the last.
GRAFT_INLINE void nibbles(const uint8_t *codes, run *out) {
  const __m256i a = widen8(codes), b = widen8(codes + 8), low = _mm256_set1_epi32(15);
  out->q[0] = _mm256_cvtepi32_ps(_mm256_and_si256(a, low));
  out->q[1] = _mm256_cvtepi32_ps(_mm256_and_si256(b, low));
  out->q[2] = _mm256_cvtepi32_ps(_mm256_srli_epi32(a, 4));
  out->q[3] = _mm256_cvtepi32_ps(_mm256_srli_epi32(b, 4));
}

GRAFT_INLINE void signed_bytes(const uint8_t *codes, run *out) {
  for (int k = 0; k < 4; k++) {
    out->q[k] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(codes + 8 * k))));
  }
}

/// Codes of one byte a value, with a sign or without.
GRAFT_INLINE void widen_bytes(__m256i codes, bool is_signed, run *out) {
  const __m128i low = _mm256_castsi256_si128(codes), high = _mm256_extracti128_si256(codes, 1);
  const __m128i eights[4] = {low, _mm_unpackhi_epi64(low, low), high, _mm_unpackhi_epi64(high, high)};
  for (int k = 0; k < 4; k++) {
    out->q[k] = _mm256_cvtepi32_ps(is_signed ? _mm256_cvtepi8_epi32(eights[k]) : _mm256_cvtepu8_epi32(eights[k]));
  }
}

GRAFT_INLINE void unsigned_bytes(__m256i codes, run *out) { widen_bytes(codes, false, out); }

/// 32 bits, one byte a bit: all ones where it is set.
GRAFT_INLINE __m256i bits_as_bytes(const uint8_t *bits) {
  const __m256i spread = _mm256_shuffle_epi8(
      _mm256_set1_epi32((int)load_u32(bits)), _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202,
                                                                 0x0303030303030303));
  const __m256i one = _mm256_set1_epi64x((long long)0x8040201008040201);
  return _mm256_cmpeq_epi8(_mm256_and_si256(spread, one), one);
}

/// Sixteen bytes of nibbles and 32 fifth bits, one byte a value.
GRAFT_INLINE __m256i nibbles_and_bits(const uint8_t *codes, const uint8_t *bits) {
  const __m128i packed = _mm_loadu_si128((const __m128i *)codes);
  const __m256i low = _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(packed, 4), packed), _mm256_set1_epi8(15));
  return _mm256_or_si256(low, _mm256_and_si256(bits_as_bytes(bits), _mm256_set1_epi8(16)));
}

GRAFT_INLINE void decode_f32(row_view row, size_t block, size_t j, const sub_blocks *shared, run *out) {
  for (int k = 0; k < 4; k++) out->q[k] = _mm256_loadu_ps((const float *)row.bytes + 32 * block + 8 * k);
}

GRAFT_INLINE void decode_f16(row_view row, size_t block, size_t j, const sub_blocks *shared, run *out) {
  const uint8_t *p = row.bytes + 64 * block;
  for (int k = 0; k < 4; k++) out->q[k] = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 16 * k)));
}

GRAFT_INLINE void decode_bf16(row_view row, size_t block, size_t j, const sub_blocks *shared, run *out) {
  const uint8_t *p = row.bytes + 64 * block;
  for (int k = 0; k < 4; k++) {
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(p + 16 * k)));
    out->q[k] = _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
  }
}

GRAFT_INLINE void decode_q4_0(row_view row, size_t block, size_t j, const sub_blocks *shared, run *out) {
  const uint8_t *p = row.bytes + 18 * block;
  out->scale = broadcast_f16(p);
  nibbles(p + 2, out);
}

GRAFT_INLINE void decode_q4_1(row_view row, size_t block, size_t j, const sub_blocks *shared, run *out) {
  const uint8_t *p = row.bytes + 20 * block;
  out->scale = broadcast_f16(p);
  out->minimum = broadcast_f16(p + 2);
  nibbles(p + 4, out);
}

GRAFT_INLINE void decode_q5_0(row_view row, size_t block, size_t j, const sub_blocks *shared, run *out) {
  const uint8_t *p = row.bytes + 22 * block;
  out->scale = broadcast_f16(p);
  unsigned_bytes(nibbles_and_bits(p + 6, p + 2), out);
}

GRAFT_INLINE void decode_q5_1(row_view row, size_t block, size_t j, const sub_blocks *shared, run *out) {
  const uint8_t *p = row.bytes + 24 * block;
  out->scale = broadcast_f16(p);
  out->minimum = broadcast_f16(p + 2);
  unsigned_bytes(nibbles_and_bits(p + 8, p + 4), out);
}

GRAFT_INLINE void decode_q8_0(row_view row, size_t block, size_t j, const sub_blocks *shared, run *out) {
  const uint8_t *p = row.bytes + 34 * block;
  out->scale = broadcast_f16(p);
  signed_bytes(p + 2, out);
}

GRAFT_INLINE void open_nothing(row_view row, size_t block, sub_blocks *out) {}

/// Eight 6-bit scales and eight 6-bit minima at `p + 4`, times the half floats at `p` and `p + 2`.
GRAFT_INLINE void open_affine(const uint8_t *p, sub_blocks *out) {
  const uint32_t a = load_u32(p + 4), b = load_u32(p + 8), c = load_u32(p + 12);
  const uint32_t six = 0x3f3f3f3f, four = 0x0f0f0f0f, two = 0x03030303;
  const uint32_t later = (c & four) | ((a >> 6) & two) << 4, later_minima = ((c >> 4) & four) | ((b >> 6) & two) << 4;
  const __m128i integers = _mm_setr_epi32((int)(a & six), (int)later, (int)(b & six), (int)later_minima);
  const __m256 scales = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(integers));
  const __m256 minima = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_unpackhi_epi64(integers, integers)));
  const __m256 lower = _mm256_xor_ps(broadcast_f16(p + 2), _mm256_set1_ps(-0.0f));
  _mm256_storeu_ps(out->numbers, _mm256_mul_ps(broadcast_f16(p), scales));
  _mm256_storeu_ps(out->numbers + 8, _mm256_mul_ps(lower, minima));
}

GRAFT_INLINE void open_q4_k(row_view row, size_t block, sub_blocks *out) { open_affine(row.bytes + 144 * block, out); }

GRAFT_INLINE void open_q5_k(row_view row, size_t block, sub_blocks *out) { open_affine(row.bytes + 176 * block, out); }

GRAFT_INLINE void open_q6_k(row_view row, size_t block, sub_blocks *out) {
  const uint8_t *p = row.bytes + 210 * block;
  const __m256 d = broadcast_f16(p + 208);
  for (int k = 0; k < 2; k++) {
    const __m256i integers = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(p + 192 + 8 * k)));
    _mm256_storeu_ps(out->numbers + 8 * k, _mm256_mul_ps(d, _mm256_cvtepi32_ps(integers)));
  }
}

GRAFT_INLINE void decode_q4_k(row_view row, size_t block, size_t j, const sub_blocks *shared, run *out) {
  const uint8_t *p = row.bytes + 144 * block, *codes = p + 16 + 32 * (j / 2);
  out->scale = _mm256_broadcast_ss(shared->numbers + j);
  out->minimum = _mm256_broadcast_ss(shared->numbers + 8 + j);
  for (int k = 0; k < 4; k++) {
    const __m256i wide = widen8(codes + 8 * k);
    out->q[k] = _mm256_cvtepi32_ps(j & 1 ? _mm256_srli_epi32(wide, 4) : _mm256_and_si256(wide, _mm256_set1_epi32(15)));
  }
}

GRAFT_INLINE void decode_q5_k(row_view row, size_t block, size_t j, const sub_blocks *shared, run *out) {
  const uint8_t *p = row.bytes + 176 * block;
  out->scale = _mm256_broadcast_ss(shared->numbers + j);
  out->minimum = _mm256_broadcast_ss(shared->numbers + 8 + j);
  const __m256i codes = _mm256_loadu_si256((const __m256i *)(p + 48 + 32 * (j / 2)));
  const __m256i high = _mm256_loadu_si256((const __m256i *)(p + 16));
  const __m256i low = _mm256_and_si256(j & 1 ? _mm256_srli_epi16(codes, 4) : codes, _mm256_set1_epi8(15));
  // Bit j goes to bit 4; what a 16-bit shift brings in from the neighbouring byte falls to the mask.
  const __m256i moved = j < 4 ? _mm256_slli_epi16(high, 4 - (int)j) : _mm256_srli_epi16(high, (int)j - 4);
  unsigned_bytes(_mm256_or_si256(low, _mm256_and_si256(moved, _mm256_set1_epi8(16))), out);
}

GRAFT_INLINE void decode_q6_k(row_view row, size_t block, size_t j, const sub_blocks *shared, run *out) {
  const uint8_t *p = row.bytes + 210 * block;
  const size_t half = j / 4, quarter = j % 4;
  out->scale = _mm256_broadcast_ss(shared->numbers + 2 * j);
  out->second = _mm256_broadcast_ss(shared->numbers + 2 * j + 1);
  const __m256i codes = _mm256_loadu_si256((const __m256i *)(p + 64 * half + 32 * (quarter & 1)));
  const __m256i high = _mm256_loadu_si256((const __m256i *)(p + 128 + 32 * half));
  const __m256i low = _mm256_and_si256(quarter < 2 ? codes : _mm256_srli_epi16(codes, 4), _mm256_set1_epi8(15));
  const __m256i moved =
      quarter < 2 ? _mm256_slli_epi16(high, 4 - 2 * (int)quarter) : _mm256_srli_epi16(high, 2 * (int)quarter - 4);
  unsigned_bytes(_mm256_or_si256(low, _mm256_and_si256(moved, _mm256_set1_epi8(0x30))), out);
}

GRAFT_INLINE void open_int2(row_view row, size_t block, sub_blocks *out) {
  const uint32_t pair = load_u32(row.bytes + row.columns / 4 + 4 * block);
  out->numbers[0] = float_of_bits(pair << 16);
  out->numbers[1] = float_of_bits(pair & 0xffff0000);
}

GRAFT_INLINE void decode_int2(row_view row, size_t block, size_t j, const sub_blocks *shared, run *out) {
  out->scale = _mm256_broadcast_ss(shared->numbers);
  out->minimum = _mm256_broadcast_ss(shared->numbers + 1);
  long long codes;
  memcpy(&codes, row.bytes + block * (row.group / 4) + 8 * j, sizeof codes);
  // Four copies of the eight bytes, each shifted to its two bits; what crosses a byte falls to the mask.
  const __m256i spread = _mm256_srlv_epi64(_mm256_set1_epi64x(codes), _mm256_setr_epi64x(0, 2, 4, 6));
  unsigned_bytes(_mm256_and_si256(spread, _mm256_set1_epi8(3)), out);
}

GRAFT_INLINE void open_int4(row_view row, size_t block, sub_blocks *out) {
  const uint32_t pair = load_u32(row.bytes + row.columns / 2 + 4 * block);
  out->numbers[0] = float_of_bits(pair << 16);
  out->numbers[1] = float_of_bits(pair & 0xffff0000);
}

GRAFT_INLINE void decode_int4(row_view row, size_t block, size_t j, const sub_blocks *shared, run *out) {
  out->scale = _mm256_broadcast_ss(shared->numbers);
  out->minimum = _mm256_broadcast_ss(shared->numbers + 1);
  nibbles(row.bytes + block * (row.group / 2) + 16 * j, out);
}

GRAFT_INLINE void decode_int8(row_view row, size_t block, size_t j, const sub_blocks *shared, run *out) {
  out->scale = _mm256_set1_ps(load_f32(row.bytes + row.columns + 4 * block));
  signed_bytes(row.bytes + block * row.group + 32 * j, out);
}

/// One byte of every level, looked up by code.
GRAFT_INLINE __m256i level_bytes(int plane) {
  uint8_t bytes[16];
  for (int i = 0; i < 16; i++) bytes[i] = (uint8_t)(bits_of_float(graft_nf4_table[i]) >> (8 * plane));
  return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)bytes));
}

/// Sixteen bytes of nibbles, the first value of a byte in its high nibble, through the table of levels.
GRAFT_INLINE void levels(const uint8_t *codes, run *out) {
  const __m128i packed = _mm_loadu_si128((const __m128i *)codes), mask = _mm_set1_epi8(15);
  const __m128i even = _mm_and_si128(_mm_srli_epi16(packed, 4), mask), odd = _mm_and_si128(packed, mask);
  const __m256i sequence = _mm256_set_m128i(_mm_unpackhi_epi8(even, odd), _mm_unpacklo_epi8(even, odd));
  // The interleaving below works within 128-bit lanes; this order of the groups of four makes it come out straight.
  const __m256i q = _mm256_permutevar8x32_epi32(sequence, _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7));
  const __m256i b0 = _mm256_shuffle_epi8(level_bytes(0), q), b1 = _mm256_shuffle_epi8(level_bytes(1), q);
  const __m256i b2 = _mm256_shuffle_epi8(level_bytes(2), q), b3 = _mm256_shuffle_epi8(level_bytes(3), q);
  const __m256i low0 = _mm256_unpacklo_epi8(b0, b1), low1 = _mm256_unpackhi_epi8(b0, b1);
  const __m256i high0 = _mm256_unpacklo_epi8(b2, b3), high1 = _mm256_unpackhi_epi8(b2, b3);
  out->q[0] = _mm256_castsi256_ps(_mm256_unpacklo_epi16(low0, high0));
  out->q[1] = _mm256_castsi256_ps(_mm256_unpackhi_epi16(low0, high0));
  out->q[2] = _mm256_castsi256_ps(_mm256_unpacklo_epi16(low1, high1));
  out->q[3] = _mm256_castsi256_ps(_mm256_unpackhi_epi16(low1, high1));
}

GRAFT_INLINE void decode_nf4(row_view row, size_t block, size_t j, const sub_blocks *shared, run *out) {
  out->scale = _mm256_set1_ps(load_f32(row.bytes + row.columns / 2 + 4 * block));
  levels(row.bytes + 32 * block + 16 * j, out);
}

GRAFT_INLINE void open_nf4_double(row_view row, size_t block, sub_blocks *out) {
  out->numbers[0] = nested_maximum(row, block);
}

GRAFT_INLINE void decode_nf4_double(row_view row, size_t block, size_t j, const sub_blocks *shared, run *out) {
  out->scale = _mm256_broadcast_ss(shared->numbers);
  levels(row.bytes + 32 * block + 16 * j, out);
}

#include "avx2_gguf.h"

GRAFT_INLINE float plain_value(graft_packing packing, const uint8_t *row, size_t i) {
  if (packing == GRAFT_F32) return load_f32(row + 4 * i);
  const uint16_t bits = load_u16(row + 2 * i);
  return packing == GRAFT_F16 ? _cvtsh_ss(bits) : bf16_value(bits);
}

/// Values of one run: a product rounded, then a sum rounded, as the formats define them.
GRAFT_INLINE void unpack_run(row_view row, size_t block, size_t j, const sub_blocks *shared, float *restrict out,
                             run_decoder decode, form f, float bias) {
  run r;
  decode(row, block, j, shared, &r);
  for (int k = 0; k < 4; k++) {
    __m256 v = r.q[k];
    if (bias != 0) v = _mm256_sub_ps(v, _mm256_set1_ps(bias));
    const bool is_later = is_halved(f) && k >= 2;
    if (f != form_plain) v = _mm256_mul_ps(v, is_later ? r.second : r.scale);
    if (f == form_affine || f == form_halved_affine) v = _mm256_add_ps(v, is_later ? r.second_minimum : r.minimum);
    _mm256_storeu_ps(out + 8 * k, v);
  }
}

GRAFT_INLINE void unpack_rows(const graft_rows *rows, size_t count, float *values, block_opener open,
                              run_decoder decode, form f, float bias, size_t runs) {
  const size_t columns = rows->columns, blocks = columns / (32 * runs);
  for (size_t r = 0; r < count; r++) {
    const row_view row = {(const uint8_t *)rows->first + r * rows->row_bytes, columns, rows->group};
    float *restrict out = values + r * columns;
    for (size_t b = 0; b < blocks; b++) {
      sub_blocks shared;
      open(row, b, &shared);
      if (runs == 8) {
#pragma unroll
        for (size_t j = 0; j < 8; j++) unpack_run(row, b, j, &shared, out + 256 * b + 32 * j, decode, f, bias);
      } else {
        for (size_t j = 0; j < runs; j++) unpack_run(row, b, j, &shared, out + 32 * (b * runs + j), decode, f, bias);
      }
    }
    if (f == form_plain) {
      for (size_t i = blocks * 32; i < columns; i++) out[i] = plain_value(rows->packing, row.bytes, i);
    }
  }
}

/// Thirty-two values of `x` and their sums, made once for all the rows they meet.
typedef struct shared_run {
  __m256 x[4];
  __m256 first, second, both;
} shared_run;

/// Adds to `sum` the products of one run with `x`: `low` and `high` are those of the codes alone, all in `low`
/// unless the run is halved.
GRAFT_INLINE __m256 add_products(__m256 sum, const run *r, __m256 low, __m256 high, const shared_run *s, form f,
                                 float bias) {
  const __m256 b = _mm256_set1_ps(bias);
  if (f == form_plain) return _mm256_add_ps(sum, low);
  if (is_halved(f)) {
    if (bias != 0) {
      low = _mm256_fnmadd_ps(b, s->first, low);
      high = _mm256_fnmadd_ps(b, s->second, high);
    }
    if (f == form_halved_affine) {
      sum = _mm256_fmadd_ps(r->minimum, s->first, sum);
      sum = _mm256_fmadd_ps(r->second_minimum, s->second, sum);
    }
    return _mm256_fmadd_ps(r->second, high, _mm256_fmadd_ps(r->scale, low, sum));
  }
  if (bias != 0) low = _mm256_fnmadd_ps(b, s->both, low);
  if (f == form_affine) sum = _mm256_fmadd_ps(r->minimum, s->both, sum);
  return _mm256_fmadd_ps(r->scale, low, sum);
}

GRAFT_INLINE float sum_of_lanes(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

/// The row `r` after `first`.
GRAFT_INLINE row_view next_row(row_view first, size_t row_bytes, int r) {
  return (row_view){first.bytes + (size_t)r * row_bytes, first.columns, first.group};
}

/// Adds to the sums of `together` adjacent rows, the first at `first`, their products in run `j` of block `block`.
GRAFT_INLINE void add_runs(__m256 *sums, int together, row_view first, size_t row_bytes, size_t block, size_t j,
                           const sub_blocks *shared, const float *x, run_decoder decode, form f, float bias) {
  shared_run s;
  for (int k = 0; k < 4; k++) s.x[k] = _mm256_loadu_ps(x + 8 * k);
  s.first = _mm256_add_ps(s.x[0], s.x[1]);
  s.second = _mm256_add_ps(s.x[2], s.x[3]);
  s.both = _mm256_add_ps(s.first, s.second);
  run decoded[4];
  __m256 low[4], high[4];
#pragma unroll
  for (int r = 0; r < together; r++) decode(next_row(first, row_bytes, r), block, j, shared + r, decoded + r);
  // Rows abreast, so that their chains of additions wait side by side and not one after another.
#pragma unroll
  for (int k = 0; k < 4; k++) {
#pragma unroll
    for (int r = 0; r < together; r++) {
      __m256 *sum = is_halved(f) && k >= 2 ? high + r : low + r;
      const bool starts = k == 0 || (is_halved(f) && k == 2);
      *sum = starts ? _mm256_mul_ps(decoded[r].q[k], s.x[k]) : _mm256_fmadd_ps(decoded[r].q[k], s.x[k], *sum);
    }
  }
#pragma unroll
  for (int r = 0; r < together; r++) sums[r] = add_products(sums[r], decoded + r, low[r], high[r], &s, f, bias);
}

/// Dot products of `together` adjacent rows with `x`.
GRAFT_INLINE void dot_rows(const graft_rows *rows, size_t at, int together, const float *x, float *y,
                           block_opener open, run_decoder decode, form f, float bias, size_t runs) {
  const size_t columns = rows->columns, blocks = columns / (32 * runs), row_bytes = rows->row_bytes;
  const row_view first = {(const uint8_t *)rows->first + at * row_bytes, columns, rows->group};
  const size_t block_bytes = blocks ? row_bytes / blocks : 0;
  __m256 sums[4];
#pragma unroll
  for (int r = 0; r < together; r++) sums[r] = _mm256_setzero_ps();
  for (size_t b = 0; b < blocks; b++) {
    // Four short streams defeat the processor's own prefetching: ask for the same place in the rows that come next.
    // Past the last row this asks for memory never read, which is harmless.
    for (size_t r = 0; together > 1 && r < (size_t)together; r++) {
      const uintptr_t next = (uintptr_t)first.bytes + (r + (size_t)together) * row_bytes + b * block_bytes;
      for (size_t o = 0; o < block_bytes; o += 64) _mm_prefetch((const char *)(next + o), _MM_HINT_T0);
    }
    sub_blocks shared[4];
#pragma unroll
    for (int r = 0; r < together; r++) open(next_row(first, row_bytes, r), b, shared + r);
    if (runs == 8) {
#pragma unroll
      for (size_t j = 0; j < 8; j++) {
        add_runs(sums, together, first, row_bytes, b, j, shared, x + 256 * b + 32 * j, decode, f, bias);
      }
    } else {
      for (size_t j = 0; j < runs; j++) {
        add_runs(sums, together, first, row_bytes, b, j, shared, x + 32 * (b * runs + j), decode, f, bias);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < together; r++) {
    float sum = sum_of_lanes(sums[r]);
    if (f == form_plain) {
      for (size_t i = blocks * 32; i < columns; i++) {
        sum = __builtin_fmaf(plain_value(rows->packing, first.bytes + (size_t)r * row_bytes, i), x[i], sum);
      }
    }
    y[at + (size_t)r] = sum;
  }
}

GRAFT_INLINE void gemv_rows(const graft_rows *rows, size_t count, const float *x, float *y, block_opener open,
                            run_decoder decode, form f, float bias, size_t runs) {
  size_t r = 0;
  for (; r + 4 <= count; r += 4) dot_rows(rows, r, 4, x, y, open, decode, f, bias, runs);
  for (; r < count; r++) dot_rows(rows, r, 1, x, y, open, decode, f, bias, runs);
}

/// Opener, decoder, form, bias and runs a block of every packing, as arguments of the loops above.
#define EACH_PACKING(CASE)                                                         \
  CASE(GRAFT_F32, open_nothing, decode_f32, form_plain, 0, 1)                      \
  CASE(GRAFT_F16, open_nothing, decode_f16, form_plain, 0, 1)                      \
  CASE(GRAFT_BF16, open_nothing, decode_bf16, form_plain, 0, 1)                    \
  CASE(GRAFT_Q4_0, open_nothing, decode_q4_0, form_scaled, 8, 1)                   \
  CASE(GRAFT_Q4_1, open_nothing, decode_q4_1, form_affine, 0, 1)                   \
  CASE(GRAFT_Q5_0, open_nothing, decode_q5_0, form_scaled, 16, 1)                  \
  CASE(GRAFT_Q5_1, open_nothing, decode_q5_1, form_affine, 0, 1)                   \
  CASE(GRAFT_Q8_0, open_nothing, decode_q8_0, form_scaled, 0, 1)                   \
  CASE(GRAFT_Q4_K, open_q4_k, decode_q4_k, form_affine, 0, 8)                      \
  CASE(GRAFT_Q5_K, open_q5_k, decode_q5_k, form_affine, 0, 8)                      \
  CASE(GRAFT_Q6_K, open_q6_k, decode_q6_k, form_halved, 32, 8)                     \
  CASE(GRAFT_INT2, open_int2, decode_int2, form_affine, 0, rows->group / 32)       \
  CASE(GRAFT_INT4, open_int4, decode_int4, form_affine, 0, rows->group / 32)       \
  CASE(GRAFT_INT8, open_nothing, decode_int8, form_scaled, 0, rows->group / 32)    \
  CASE(GRAFT_NF4, open_nothing, decode_nf4, form_scaled, 0, 2)                     \
  CASE(GRAFT_NF4_DOUBLE, open_nf4_double, decode_nf4_double, form_scaled, 0, 2)    \
  CASE(GRAFT_Q1_0, open_nothing, decode_q1_0, form_scaled, 0, 4)                   \
  CASE(GRAFT_Q2_0, open_nothing, decode_q2_0, form_scaled, 1, 2)                   \
  CASE(GRAFT_Q2_K, open_q2_k, decode_q2_k, form_halved_affine, 0, 8)               \
  CASE(GRAFT_Q3_K, open_q3_k, decode_q3_k, form_halved, 4, 8)                      \
  CASE(GRAFT_IQ4_NL, open_nothing, decode_iq4_nl, form_scaled, 0, 1)               \
  CASE(GRAFT_IQ4_XS, open_iq4_xs, decode_iq4_xs, form_scaled, 0, 8)                \
  CASE(GRAFT_MXFP4, open_nothing, decode_mxfp4, form_scaled, 0, 1)                 \
  CASE(GRAFT_NVFP4, open_nothing, decode_nvfp4, form_halved, 0, 2)

void graft_avx2_unpack(const graft_rows *rows, size_t count, float *values) {
  switch (rows->packing) {
#define CASE(packing, open, decode, form, bias, runs)                  \
  case packing:                                                        \
    unpack_rows(rows, count, values, open, decode, form, bias, runs);  \
    break;
    EACH_PACKING(CASE)
    case GRAFT_GROUPED: grouped_unpack(rows, count, values); break;
    case GRAFT_PARTLY_BINARY: partly_binary_unpack(rows, count, values); break;
#undef CASE
  }
}

void graft_avx2_gemv(const graft_rows *rows, size_t count, const float *x, float *y) {
  switch (rows->packing) {
#define CASE(packing, open, decode, form, bias, runs)                  \
  case packing:                                                        \
    gemv_rows(rows, count, x, y, open, decode, form, bias, runs);      \
    break;
    EACH_PACKING(CASE)
    case GRAFT_GROUPED: grouped_gemv(rows, count, x, y); break;
    case GRAFT_PARTLY_BINARY: partly_binary_gemv(rows, count, x, y); break;
#undef CASE
  }
}

void graft_avx2_f16_from_f32(const float *values, uint16_t *halves, size_t count) {
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m128i h = _mm256_cvtps_ph(_mm256_loadu_ps(values + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm_storeu_si128((__m128i *)(halves + i), h);
  }
  for (; i < count; i++) halves[i] = graft_f16_bits(values[i]);
}

uint64_t graft_avx2_fma_loop(uint64_t rounds, float *sink) {
  __m256 lanes[12];
  const __m256 a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);
  for (int i = 0; i < 12; i++) lanes[i] = _mm256_set1_ps((float)i);
  for (uint64_t r = 0; r < rounds; r++) {
    for (int i = 0; i < 12; i++) lanes[i] = _mm256_fmadd_ps(lanes[i], a, b);
  }
  for (int i = 0; i < 12; i++) *sink += sum_of_lanes(lanes[i]);
  return rounds * 12 * 16;
}

uint64_t graft_avx2_read(const void *buffer, size_t bytes) {
  const uint8_t *p = buffer;
  __m256i lanes[4];
  for (int k = 0; k < 4; k++) lanes[k] = _mm256_setzero_si256();
  for (size_t i = 0; i + 128 <= bytes; i += 128) {
    for (int k = 0; k < 4; k++) {
      lanes[k] = _mm256_add_epi64(lanes[k], _mm256_loadu_si256((const __m256i *)(p + i + 32 * (size_t)k)));
    }
  }
  const __m256i all = _mm256_add_epi64(_mm256_add_epi64(lanes[0], lanes[1]), _mm256_add_epi64(lanes[2], lanes[3]));
  uint64_t words[4];
  _mm256_storeu_si256((__m256i *)words, all);
  return words[0] + words[1] + words[2] + words[3];
}

#pragma clang attribute pop

#endif
