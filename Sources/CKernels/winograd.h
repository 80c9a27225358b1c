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

/// One row of an image as the four numbers a tile makes of its four: d₀ - d₂, d₁ + d₂, d₂ - d₁, d₁ - d₃.
static inline void NAMED(transform_row)(const graft_winograd *w, const float *row, float *line, float *out,
                                        size_t pitch) {
  const size_t tiles = tiles_across(w);
  if (!row) {
    memset(out, 0, 4 * pitch * sizeof(float));
    return;
  }
  memcpy(line + w->left, row, w->width * sizeof(float));
  for (size_t t = 0; t < tiles; t += LANES) {
    const float *p = line + 2 * t;
    const V a = LOAD(p), b = LOAD(p + LANES), c = LOAD(p + 2), d = LOAD(p + LANES + 2);
    const V d0 = EVEN(a, b), d1 = ODD(a, b), d2 = EVEN(c, d), d3 = ODD(c, d);
    STORE(out + t, d0 - d2);
    STORE(out + pitch + t, d1 + d2);
    STORE(out + 2 * pitch + t, d2 - d1);
    STORE(out + 3 * pitch + t, d1 - d3);
  }
}

/// The tiles of `count` rows of tiles from `first` on, of input `channel`, for each of the sixteen products. `line` holds
/// zeros but where a row of the image goes.
static void NAMED(transform_inputs)(const graft_winograd *w, const float *x, size_t first, size_t count, size_t channel,
                                    float *tiles, size_t pitch, float *line) {
  const size_t across = tiles_across(w), down_all = tiles_down(w), line_pitch = padded_line(w);
  const size_t part = w->inputs * pitch;
  float *lines[4], *target = tiles + channel * pitch;
  for (size_t r = 0; r < 4; r++) lines[r] = line + (2 + 4 * r) * line_pitch + 64;
  for (size_t i = 0; i < count; i++) {
    const size_t image = (first + i) / down_all, down = (first + i) % down_all;
    const float *plane = x + image * w->input_stride + channel * w->height * w->width;
    for (size_t r = i == 0 || down == 0 ? 0 : 2; r < 4; r++) {
      const size_t at = 2 * down + r;
      const float *row = at >= w->top && at - w->top < w->height ? plane + (at - w->top) * w->width : NULL;
      NAMED(transform_row)(w, row, line, lines[at & 3], line_pitch);
    }
    const float *r0 = lines[2 * down & 3], *r1 = lines[(2 * down + 1) & 3];
    const float *r2 = lines[(2 * down + 2) & 3], *r3 = lines[(2 * down + 3) & 3];
    for (size_t t = 0; t < across; t += LANES) {
      float *out = target + i * across + t;
      for (size_t k = 0; k < 4; k++) {
        const size_t o = k * line_pitch + t;
        const V a = LOAD(r0 + o), b = LOAD(r1 + o), c = LOAD(r2 + o), d = LOAD(r3 + o);
        // What goes beyond the row of tiles, the next row's numbers replace.
        STORE(out + k * part, a - c);
        STORE(out + (4 + k) * part, b + c);
        STORE(out + (8 + k) * part, c - b);
        STORE(out + (12 + k) * part, b - d);
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
    for (size_t p = 0; p < count; p += ACROSS * LANES) {
      const size_t left = (count - p + LANES - 1) / LANES;
      if (left >= ACROSS) {
        NAMED(multiply_panel)(u, tiles + p, target + p, w->inputs, pitch, ACROSS);
      } else if (left == 2) {
        NAMED(multiply_panel)(u, tiles + p, target + p, w->inputs, pitch, 2);
      } else {
        NAMED(multiply_panel)(u, tiles + p, target + p, w->inputs, pitch, 1);
      }
    }
  }
}

/// Writes, or adds, up to `width` numbers of a row.
static inline void NAMED(put)(float *row, V first, V second, size_t width, bool accumulates) {
  if (width >= 2 * LANES) {
    STORE(row, accumulates ? LOAD(row) + first : first);
    STORE(row + LANES, accumulates ? LOAD(row + LANES) + second : second);
    return;
  }
  float part[2 * LANES];
  STORE(part, first);
  STORE(part + LANES, second);
  if (!accumulates) {
    memcpy(row, part, width * sizeof(float));
  } else {
    for (size_t i = 0; i < width; i++) row[i] += part[i];
  }
}

/// Puts output `k` of the tiles together: along each axis m₀ + m₁ + m₂ and m₁ - m₂ - m₃. `y` is its plane of the first
/// image, `stride` floats before that of the next.
static void NAMED(transform_outputs)(const graft_winograd *w, const float *products, size_t pitch, size_t first,
                                     size_t count, size_t k, float bias, float *y, size_t stride, bool accumulates) {
  const size_t across = tiles_across(w), down_all = tiles_down(w), part = padded_outputs(w) * pitch;
  for (size_t i = 0; i < count; i++) {
    const size_t image = (first + i) / down_all, down = (first + i) % down_all;
    float *row = y + image * stride + 2 * down * w->output_width;
    const bool has_second = 2 * down + 1 < w->output_height;
    for (size_t t = 0; t < across; t += LANES) {
      const float *m = products + k * pitch + i * across + t;
      V upper[4], lower[4];
      for (size_t c = 0; c < 4; c++) {
        const V m0 = LOAD(m + c * part), m1 = LOAD(m + (4 + c) * part);
        const V m2 = LOAD(m + (8 + c) * part), m3 = LOAD(m + (12 + c) * part);
        upper[c] = m0 + m1 + m2;
        lower[c] = m1 - m2 - m3;
      }
      const size_t left = w->output_width - 2 * t;
      V even = upper[0] + upper[1] + upper[2] + bias, odd = upper[1] - upper[2] - upper[3] + bias;
      NAMED(put)(row + 2 * t, LOW(even, odd), HIGH(even, odd), left, accumulates);
      if (!has_second) continue;
      even = lower[0] + lower[1] + lower[2] + bias;
      odd = lower[1] - lower[2] - lower[3] + bias;
      NAMED(put)(row + w->output_width + 2 * t, LOW(even, odd), HIGH(even, odd), left, accumulates);
    }
  }
}

static void NAMED(convolve)(const graft_winograd *w, const float *filters, const float *x, size_t first, size_t count,
                            const float *bias, float *y, float *beside, float *scratch) {
  const size_t pitch = padded_tiles(w, count), tiles = count * tiles_across(w), outputs = padded_outputs(w);
  float *products = scratch + 16 * w->inputs * pitch, *line = products + 16 * outputs * pitch;
  memset(line, 0, (2 * padded_line(w) + 64) * sizeof(float));
  for (size_t c = 0; c < w->inputs; c++) NAMED(transform_inputs)(w, x, first, count, c, scratch, pitch, line);
  for (size_t part = 0; part < 16; part++) {
    NAMED(multiply)(w, filters + part * outputs * w->inputs, scratch + part * w->inputs * pitch,
                    products + part * outputs * pitch, pitch, tiles);
  }
  const size_t plane = w->output_height * w->output_width, own = w->outputs - w->beside;
  for (size_t k = 0; k < own; k++) {
    NAMED(transform_outputs)(w, products, pitch, first, count, k, bias ? bias[k] : 0, y + k * plane, w->output_stride,
                             w->accumulates);
  }
  for (size_t k = own; k < w->outputs; k++) {
    NAMED(transform_outputs)(w, products, pitch, first, count, k, 0, beside + (k - own) * plane, w->beside * plane, false);
  }
}

#undef V
#undef LOAD
#undef STORE
#undef EVEN
#undef ODD
#undef LOW
#undef HIGH
