/// The loops of a convolution by Winograd's algorithm, compiled once for each width of register.
///
/// Before this is included: LANES, the floats of a register; ROWS, the outputs that go together; ACROSS, the registers of
/// tiles that go together, 3 at most; and NAMED(name).

typedef float NAMED(vector) __attribute__((vector_size(4 * LANES)));
typedef float NAMED(loose) __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

#define V NAMED(vector)
#define LOAD(p) ((V)*(const NAMED(loose) *)(p))
#define STORE(p, v) (*(NAMED(loose) *)(p) = (v))

#if LANES == 16
#define EVEN(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
#define ODD(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)
#define LOW(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#elif LANES == 8
#define EVEN(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14)
#define ODD(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15)
#define LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#else
#define EVEN(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6)
#define ODD(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7)
#define LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#endif

#if LANES == 16
typedef __mmask16 NAMED(lanes);
#define LOAD_SOME(p, m) ((V)_mm512_maskz_loadu_ps(m, p))
#define STORE_SOME(p, m, v) _mm512_mask_storeu_ps(p, m, v)
static inline NAMED(lanes) NAMED(lanes_of)(int first, int end) {
  return (NAMED(lanes))(((1u << end) - 1) & ~((1u << first) - 1));
}
#elif LANES == 8
typedef __m256i NAMED(lanes);
#define LOAD_SOME(p, m) ((V)_mm256_maskload_ps(p, m))
#define STORE_SOME(p, m, v) _mm256_maskstore_ps(p, m, v)
static inline NAMED(lanes) NAMED(lanes_of)(int first, int end) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(first), lane),
                             _mm256_cmpgt_epi32(_mm256_set1_epi32(end), lane));
}
#else
typedef struct NAMED(lanes) {
  int first, end;
} NAMED(lanes);
#define LOAD_SOME(p, m) NAMED(load_some)(p, m)
#define STORE_SOME(p, m, v) NAMED(store_some)(p, m, v)
static inline NAMED(lanes) NAMED(lanes_of)(int first, int end) { return (NAMED(lanes)){first, end}; }
static inline V NAMED(load_some)(const float *p, NAMED(lanes) m) {
  if (m.first == 0 && m.end == LANES) return LOAD(p);
  V v = {0};
  for (int i = m.first; i < m.end; i++) v[i] = p[i];
  return v;
}
static inline void NAMED(store_some)(float *p, NAMED(lanes) m, V v) {
  if (m.first == 0 && m.end == LANES) {
    STORE(p, v);
    return;
  }
  for (int i = m.first; i < m.end; i++) p[i] = v[i];
}
#endif

/// The lanes of a register that lie within a row of `width` numbers of which the first lane has number `start`.
static inline NAMED(lanes) NAMED(lanes_within)(ptrdiff_t start, ptrdiff_t width) {
  const ptrdiff_t first = start < 0 ? -start : 0, end = width - start;
  return NAMED(lanes_of)(first < LANES ? (int)first : LANES, end < 0 ? 0 : end < LANES ? (int)end : LANES);
}

/// One row of an image as the four numbers a tile makes of its four: d₀ - d₂, d₁ + d₂, d₂ - d₁, d₁ - d₃. `row` is where
/// the first tile starts, and `within` tells which of the numbers there and behind are the image's; the others are zeros.
static inline __attribute__((always_inline)) void NAMED(transform_row)(const float *row, const NAMED(lanes) within[4],
                                                                       V out[4]) {
  if (!row) {
    out[0] = out[1] = out[2] = out[3] = (V){0};
    return;
  }
  const V a = LOAD_SOME(row, within[0]), b = LOAD_SOME(row + LANES, within[1]);
  const V c = LOAD_SOME(row + 2, within[2]), d = LOAD_SOME(row + LANES + 2, within[3]);
  const V d0 = EVEN(a, b), d1 = ODD(a, b), d2 = EVEN(c, d), d3 = ODD(c, d);
  out[0] = d0 - d2;
  out[1] = d1 + d2;
  out[2] = d2 - d1;
  out[3] = d1 - d3;
}

/// The tiles of `count` rows of tiles from `first` on, of input `channel`, for each of the sixteen products.
static void NAMED(transform_inputs)(const graft_winograd *w, const float *x, size_t first, size_t count, size_t channel,
                                    float *tiles, size_t pitch) {
  const size_t across = tiles_across(w), down_all = tiles_down(w), part = tile_part(w, pitch);
  const ptrdiff_t width = (ptrdiff_t)w->width, height = (ptrdiff_t)w->height;
  // From the right to the left: what goes beyond a row of tiles, the numbers of the next row's start replace.
  for (size_t end = (across + LANES - 1) / LANES * LANES; end > 0; end -= LANES) {
    const size_t t = end - LANES;
    const ptrdiff_t start = 2 * (ptrdiff_t)t - (ptrdiff_t)w->left;
    const NAMED(lanes) within[4] = {
        NAMED(lanes_within)(start, width), NAMED(lanes_within)(start + LANES, width),
        NAMED(lanes_within)(start + 2, width), NAMED(lanes_within)(start + LANES + 2, width)};
    float *out = tiles + channel * pitch + t;
    size_t image = first / down_all, down = first % down_all;
    V r[4][4];
    for (size_t i = 0; i < count; i++, out += across) {
      const float *plane = x + image * w->input_stride + channel * w->height * w->width + start;
      const ptrdiff_t top = 2 * (ptrdiff_t)down - (ptrdiff_t)w->top;
      const float *rows[4];
#pragma unroll
      for (int k = 0; k < 4; k++) rows[k] = top + k >= 0 && top + k < height ? plane + (top + k) * width : NULL;
      if (i == 0 || down == 0) {
        NAMED(transform_row)(rows[0], within, r[0]);
        NAMED(transform_row)(rows[1], within, r[1]);
      } else {
        memcpy(r[0], r[2], sizeof r[0]);
        memcpy(r[1], r[3], sizeof r[1]);
      }
      NAMED(transform_row)(rows[2], within, r[2]);
      NAMED(transform_row)(rows[3], within, r[3]);
#pragma unroll
      for (size_t k = 0; k < 4; k++) {
        STORE(out + k * part, r[0][k] - r[2][k]);
        STORE(out + (4 + k) * part, r[1][k] + r[2][k]);
        STORE(out + (8 + k) * part, r[2][k] - r[1][k]);
        STORE(out + (12 + k) * part, r[1][k] - r[3][k]);
      }
      if (++down == down_all) {
        down = 0;
        image++;
      }
    }
  }
}

/// ROWS rows of one of the sixteen products, over `across` registers of tiles from `tiles` on.
static inline __attribute__((always_inline)) void NAMED(multiply_panel)(const float *filters, const float *tiles,
                                                                        float *products, size_t inputs, size_t pitch,
                                                                        int across) {
  V sums[ROWS][ACROSS];
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
#pragma unroll
    for (int a = 0; a < across; a++) sums[r][a] = (V){0};
  }
  for (size_t c = 0; c < inputs; c++) {
    V v[ACROSS];
#pragma unroll
    for (int a = 0; a < across; a++) v[a] = LOAD(tiles + c * pitch + LANES * (size_t)a);
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      const float f = filters[c * ROWS + (size_t)r];
#pragma unroll
      for (int a = 0; a < across; a++) sums[r][a] = f * v[a] + sums[r][a];
    }
  }
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
#pragma unroll
    for (int a = 0; a < across; a++) STORE(products + (size_t)r * pitch + LANES * (size_t)a, sums[r][a]);
  }
}

/// One of the sixteen products, `[outputs, pitch]`, of `filters` and `tiles`, `[inputs, pitch]`.
static void NAMED(multiply)(const graft_winograd *w, const float *filters, const float *tiles, float *products,
                            size_t pitch, size_t count) {
  for (size_t k = 0; k < w->outputs; k += ROWS) {
    const float *u = filters + k * w->inputs;
    float *target = products + k * pitch;
    size_t left = (count + LANES - 1) / LANES;
    for (size_t p = 0; left > 0;) {
      // Four as two and two: one alone would read more than it multiplies.
      const size_t together = left == 4 ? 2 : left < ACROSS ? left : ACROSS;
      if (together == ACROSS) {
        NAMED(multiply_panel)(u, tiles + p, target + p, w->inputs, pitch, ACROSS);
      } else if (together == 2) {
        NAMED(multiply_panel)(u, tiles + p, target + p, w->inputs, pitch, 2);
      } else {
        NAMED(multiply_panel)(u, tiles + p, target + p, w->inputs, pitch, 1);
      }
      p += together * LANES;
      left -= together;
    }
  }
}

/// Writes, or adds, the lanes of a register that lie within a row.
static inline void NAMED(put)(float *place, NAMED(lanes) within, V value, bool accumulates) {
  STORE_SOME(place, within, accumulates ? (V)LOAD_SOME(place, within) + value : value);
}

/// Puts output `k` of the tiles together: along each axis m₀ + m₁ + m₂ and m₁ - m₂ - m₃. `y` is its plane of the first
/// image, `stride` floats before that of the next.
static void NAMED(transform_outputs)(const graft_winograd *w, const float *products, size_t pitch, size_t first,
                                     size_t count, size_t k, float bias, float *y, size_t stride, bool accumulates) {
  const size_t across = tiles_across(w), down_all = tiles_down(w), part = product_part(w, pitch);
  for (size_t t = 0; t < across; t += LANES) {
    const ptrdiff_t start = 2 * (ptrdiff_t)t, width = (ptrdiff_t)w->output_width;
    const NAMED(lanes) near = NAMED(lanes_within)(start, width), far = NAMED(lanes_within)(start + LANES, width);
    const bool has_far = start + LANES < width;
    const float *m = products + k * pitch + t;
    size_t image = first / down_all, down = first % down_all;
    for (size_t i = 0; i < count; i++, m += across) {
      float *row = y + image * stride + 2 * down * w->output_width + 2 * t;
      V upper[4], lower[4];
#pragma unroll
      for (size_t c = 0; c < 4; c++) {
        const V m0 = LOAD(m + c * part), m1 = LOAD(m + (4 + c) * part);
        const V m2 = LOAD(m + (8 + c) * part), m3 = LOAD(m + (12 + c) * part);
        upper[c] = m0 + m1 + m2;
        lower[c] = m1 - m2 - m3;
      }
      V even = upper[0] + upper[1] + upper[2] + bias, odd = upper[1] - upper[2] - upper[3] + bias;
      NAMED(put)(row, near, LOW(even, odd), accumulates);
      if (has_far) NAMED(put)(row + LANES, far, HIGH(even, odd), accumulates);
      if (2 * down + 1 < w->output_height) {
        row += w->output_width;
        even = lower[0] + lower[1] + lower[2] + bias;
        odd = lower[1] - lower[2] - lower[3] + bias;
        NAMED(put)(row, near, LOW(even, odd), accumulates);
        if (has_far) NAMED(put)(row + LANES, far, HIGH(even, odd), accumulates);
      }
      if (++down == down_all) {
        down = 0;
        image++;
      }
    }
  }
}

static void NAMED(convolve)(const graft_winograd *w, const float *filters, const float *x, size_t first, size_t count,
                            const float *bias, float *y, float *beside, float *scratch) {
  const size_t pitch = padded_tiles(w, count), tiles = count * tiles_across(w);
  float *products = scratch + 16 * tile_part(w, pitch);
  for (size_t c = 0; c < w->inputs; c++) NAMED(transform_inputs)(w, x, first, count, c, scratch, pitch);
  for (size_t part = 0; part < 16; part++) {
    NAMED(multiply)(w, filters + part * filter_part(w), scratch + part * tile_part(w, pitch),
                    products + part * product_part(w, pitch), pitch, tiles);
  }
  const size_t plane = w->output_height * w->output_width, own = w->outputs - w->beside;
  for (size_t k = 0; k < own; k++) {
    NAMED(transform_outputs)(w, products, pitch, first, count, k, bias ? bias[k] : 0, y + k * plane, w->output_stride,
                             w->accumulates);
  }
  for (size_t k = own; k < w->outputs; k++) {
    NAMED(transform_outputs)(w, products, pitch, first, count, k, 0, beside + (k - own) * plane, w->beside * plane,
                             false);
  }
}

#undef V
#undef LOAD
#undef STORE
#undef EVEN
#undef ODD
#undef LOW
#undef HIGH
#undef LOAD_SOME
#undef STORE_SOME
