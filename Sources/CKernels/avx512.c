/// Products with packed rows for x86-64 processors with AVX-512, of the packings whose codes are nibbles or bytes.
///
/// A nibble chooses its value in a register of sixteen, so that nothing is masked and, where the values are levels,
/// nothing converted. Eight rows go together to share what is made of `x`; each row's operations are the same whether
/// it goes alone or with others. What is not here, unpacking included, is done by the AVX2 kernels.
#include "kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), \
                             apply_to = function)

/// Rows that go together.
#define TOGETHER 8
/// Blocks whose scales are made floats at one time.
#define SPAN 16
/// Bytes between what is read and what is asked for, at least: what passes while memory answers.
#define ASK_AHEAD 8192
/// The most blocks of a row whose inputs are summed up beforehand; rows longer than 131,072 columns are left to the AVX2
/// kernels.
#define MOST_BLOCKS 4096

/// How the codes of a run of 32 lie, and what they are.
typedef enum code_form {
  codes_halved,         // integers in sixteen bytes: low nibbles are the first sixteen values, high nibbles the last
  codes_halved_levels,  // the same, each code being the number of a level
  codes_paired_levels,  // the number of a level each: the first value of a byte in its high nibble
  codes_bytes,          // a signed byte a value
} code_form;

/// Scales of sixteen blocks, and what is added to each of their scaled codes.
typedef struct span {
  __m512 scale, minimum;
} span;

/// Reads the numbers of `count` blocks from `first` on; those past `count` are zero.
typedef span (*span_opener)(row_view row, size_t first, size_t count);

GRAFT_INLINE __mmask16 first_of(size_t count) { return (__mmask16)((1u << count) - 1); }

/// The half floats at `p` and every `stride` bytes behind it.
///
/// Half i is lane i of what lies i halves before it, and a masked load touches nothing else: a blend a half, where
/// putting sixteen together from the core's registers would take the time of as many blocks.
GRAFT_INLINE __m512 spread_halves(const uint8_t *p, size_t stride, size_t count) {
  __m256i halves = _mm256_setzero_si256();
  if (count == SPAN) {
#pragma unroll
    for (size_t i = 0; i < SPAN; i++) {
      halves = _mm256_mask_loadu_epi16(halves, (__mmask16)(1u << i), p + i * (stride - 2));
    }
  } else {
    for (size_t i = 0; i < count; i++) {
      halves = _mm256_mask_loadu_epi16(halves, (__mmask16)(1u << i), p + i * (stride - 2));
    }
  }
  return _mm512_cvtph_ps(halves);
}

GRAFT_INLINE span open_q4_0(row_view row, size_t first, size_t count) {
  const __m512 scale = spread_halves(row.bytes + 18 * first, 18, count);
  return (span){scale, _mm512_mul_ps(scale, _mm512_set1_ps(-8))};
}

/// Scale and minimum lie together, so that one of the loads above brings both.
GRAFT_INLINE span open_q4_1(row_view row, size_t first, size_t count) {
  const uint8_t *p = row.bytes + 20 * first;
  __m512i both = _mm512_setzero_si512();
  if (count == SPAN) {
#pragma unroll
    for (size_t i = 0; i < SPAN; i++) both = _mm512_mask_loadu_epi32(both, (__mmask16)(1u << i), p + 16 * i);
  } else {
    for (size_t i = 0; i < count; i++) both = _mm512_mask_loadu_epi32(both, (__mmask16)(1u << i), p + 16 * i);
  }
  return (span){_mm512_cvtph_ps(_mm512_cvtepi32_epi16(both)),
                _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(both, 16)))};
}

GRAFT_INLINE span open_q8_0(row_view row, size_t first, size_t count) {
  return (span){spread_halves(row.bytes + 34 * first, 34, count), _mm512_setzero_ps()};
}

GRAFT_INLINE span open_iq4_nl(row_view row, size_t first, size_t count) {
  return (span){spread_halves(row.bytes + 18 * first, 18, count), _mm512_setzero_ps()};
}

GRAFT_INLINE span open_int4(row_view row, size_t first, size_t count) {
  const __m512i both = _mm512_maskz_loadu_epi32(first_of(count), row.bytes + row.columns / 2 + 4 * first);
  return (span){_mm512_castsi512_ps(_mm512_slli_epi32(both, 16)),
                _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32((int)0xffff0000)))};
}

GRAFT_INLINE span open_int8(row_view row, size_t first, size_t count) {
  return (span){_mm512_maskz_loadu_ps(first_of(count), row.bytes + row.columns + 4 * first), _mm512_setzero_ps()};
}

GRAFT_INLINE span open_nf4(row_view row, size_t first, size_t count) {
  return (span){_mm512_maskz_loadu_ps(first_of(count), row.bytes + row.columns / 2 + 4 * first), _mm512_setzero_ps()};
}

GRAFT_INLINE span open_nf4_double(row_view row, size_t first, size_t count) {
  float maxima[SPAN] = {0};
  for (size_t i = 0; i < count; i++) maxima[i] = nested_maximum(row, first + i);
  return (span){_mm512_loadu_ps(maxima), _mm512_setzero_ps()};
}

/// Two vectors of numbers.
typedef struct pair {
  __m512 first, second;
} pair;

/// The 32 values at `codes`; of halved integers the second sixteen are whole bytes, see `shared_inputs`.
GRAFT_INLINE pair decode(const uint8_t *codes, code_form form, __m512 table) {
  if (form == codes_bytes) {
    return (pair){_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)codes))),
                  _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(codes + 16))))};
  }
  const __m512i wide = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)codes));
  const __m512 low = _mm512_permutexvar_ps(wide, table);
  if (form == codes_halved) return (pair){low, _mm512_cvtepi32_ps(wide)};
  const __m512 high = _mm512_permutexvar_ps(_mm512_srli_epi32(wide, 4), table);
  return form == codes_halved_levels ? (pair){low, high} : (pair){high, low};
}

/// What the 32 values of a run are multiplied by, from the 32 inputs at `x`.
GRAFT_INLINE pair shared_inputs(const float *x, code_form form) {
  const __m512 x0 = _mm512_loadu_ps(x), x1 = _mm512_loadu_ps(x + 16);
  if (form == codes_paired_levels) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    return (pair){_mm512_permutex2var_ps(x0, even, x1), _mm512_permutex2var_ps(x0, odd, x1)};
  }
  if (form == codes_halved) {
    // low x₀ + high x₁ = low (x₀ - x₁ / 16) + (16 high + low) x₁ / 16: a whole byte will do for its high nibble.
    const __m512 sixteenth = _mm512_mul_ps(x1, _mm512_set1_ps(0x1p-4f));
    return (pair){_mm512_sub_ps(x0, sixteenth), sixteenth};
  }
  return (pair){x0, x1};
}

/// Where a packing's codes lie and what they mean: arguments of the loops below.
typedef struct shape {
  code_form form;
  bool has_minimum;
  /// Bytes from one run's codes to the next's, and before the first.
  size_t step, start;
  /// Runs that share a scale.
  size_t runs;
  /// Bytes before the scales where they lie behind all codes, 0 where each block has its own with it.
  size_t numbers;
} shape;

/// Asks for what rows further on hold where these are being read: eight short streams defeat the processor's own
/// prefetching. Past the last row this is memory never read, which is harmless. It goes to the second cache, as the first
/// has no room for so many rows.
GRAFT_INLINE void ask_for(const uint8_t *p) { _mm_prefetch((const char *)p, _MM_HINT_T1); }

/// Dot products of `together` adjacent rows with `x`; `block_sums` are the sums of each block's inputs.
GRAFT_INLINE void dot_rows(const graft_rows *rows, size_t at, int together, const float *x, const float *block_sums,
                           float *y, span_opener open, shape s, __m512 table) {
  const size_t columns = rows->columns, row_bytes = rows->row_bytes, blocks = columns / (32 * s.runs);
  const uint8_t *first = (const uint8_t *)rows->first + at * row_bytes;
  const size_t ahead = (1 + ASK_AHEAD / (TOGETHER * row_bytes)) * TOGETHER * row_bytes;
  __m512 sums[TOGETHER];
#pragma unroll
  for (int r = 0; r < together; r++) sums[r] = _mm512_setzero_ps();
  for (size_t b = 0; b < blocks; b += SPAN) {
    const size_t count = blocks - b < SPAN ? blocks - b : SPAN;
    float scales[TOGETHER][SPAN];
#pragma unroll
    for (int r = 0; r < together; r++) {
      if (together > 1 && s.numbers) ask_for(first + (size_t)r * row_bytes + ahead + s.numbers + 4 * b);
      const span numbers = open((row_view){first + (size_t)r * row_bytes, columns, rows->group}, b, count);
      _mm512_storeu_ps(scales[r], numbers.scale);
      if (s.has_minimum) sums[r] = _mm512_fmadd_ps(numbers.minimum, _mm512_loadu_ps(block_sums + b), sums[r]);
    }
    for (size_t i = 0; i < count; i++) {
      __m512 products[TOGETHER];
#pragma unroll
      for (int r = 0; r < together; r++) products[r] = _mm512_setzero_ps();
      for (size_t j = 0; j < s.runs; j++) {
        const size_t run = (b + i) * s.runs + j;
        const pair inputs = shared_inputs(x + 32 * run, s.form);
        const uint8_t *codes = first + s.start + run * s.step;
#pragma unroll
        for (int r = 0; r < together; r++) {
          const uint8_t *p = codes + (size_t)r * row_bytes;
          if (together > 1 && (s.step > 32 || run % 2 == 0)) ask_for(p + ahead);
          const pair q = decode(p, s.form, table);
          products[r] = _mm512_fmadd_ps(q.first, inputs.first, products[r]);
          products[r] = _mm512_fmadd_ps(q.second, inputs.second, products[r]);
        }
      }
#pragma unroll
      for (int r = 0; r < together; r++) {
        sums[r] = _mm512_fmadd_ps(_mm512_set1_ps(scales[r][i]), products[r], sums[r]);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < together; r++) y[at + (size_t)r] = _mm512_reduce_add_ps(sums[r]);
}

GRAFT_INLINE void gemv_rows(const graft_rows *rows, size_t count, const float *x, float *y, span_opener open, shape s,
                            __m512 table) {
  const size_t blocks = rows->columns / (32 * s.runs);
  float block_sums[MOST_BLOCKS + SPAN];
  if (s.has_minimum) {
    if (blocks > MOST_BLOCKS) return graft_avx2_gemv(rows, count, x, y);
    for (size_t b = 0; b < blocks; b++) {
      __m512 sum = _mm512_setzero_ps();
      for (size_t k = 0; k < 2 * s.runs; k++) sum = _mm512_add_ps(sum, _mm512_loadu_ps(x + 16 * (2 * b * s.runs + k)));
      block_sums[b] = _mm512_reduce_add_ps(sum);
    }
    _mm512_storeu_ps(block_sums + blocks, _mm512_setzero_ps());
  }
  size_t r = 0;
  for (; r + TOGETHER <= count; r += TOGETHER) dot_rows(rows, r, TOGETHER, x, block_sums, y, open, s, table);
  for (; r < count; r++) dot_rows(rows, r, 1, x, block_sums, y, open, s, table);
}

void graft_avx512_gemv(const graft_rows *rows, size_t count, const float *x, float *y) {
  const __m512 integers = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512 normal = _mm512_loadu_ps(graft_nf4_table);
  const __m512 uneven = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)graft_iq4_table)));
  const size_t runs = rows->group / 32;
#define CASE(packing, open, table, ...)                                     \
  case packing:                                                             \
    gemv_rows(rows, count, x, y, open, (shape){__VA_ARGS__}, table);        \
    break;
  switch (rows->packing) {
    CASE(GRAFT_Q4_0, open_q4_0, integers, codes_halved, true, 18, 2, 1, 0)
    CASE(GRAFT_Q4_1, open_q4_1, integers, codes_halved, true, 20, 4, 1, 0)
    CASE(GRAFT_Q8_0, open_q8_0, integers, codes_bytes, false, 34, 2, 1, 0)
    CASE(GRAFT_IQ4_NL, open_iq4_nl, uneven, codes_halved_levels, false, 18, 2, 1, 0)
    CASE(GRAFT_INT4, open_int4, integers, codes_halved, true, 16, 0, runs, rows->columns / 2)
    CASE(GRAFT_INT8, open_int8, integers, codes_bytes, false, 32, 0, runs, rows->columns)
    CASE(GRAFT_NF4, open_nf4, normal, codes_paired_levels, false, 16, 0, 2, rows->columns / 2)
    CASE(GRAFT_NF4_DOUBLE, open_nf4_double, normal, codes_paired_levels, false, 16, 0, 2, rows->columns / 2)
    default: graft_avx2_gemv(rows, count, x, y);
  }
#undef CASE
}

#pragma clang attribute pop

#endif
