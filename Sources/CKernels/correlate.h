/// The loops of `graft_correlate`, compiled once for each width of register.
///
/// Before this is included: LANES, the floats of a register; ROWS, the rows that go together; and NAMED(name).

typedef float NAMED(vector) __attribute__((vector_size(4 * LANES)));
typedef int32_t NAMED(integers) __attribute__((vector_size(4 * LANES)));
typedef float NAMED(loose) __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

#define V NAMED(vector)
#define LOAD(p) ((V)*(const NAMED(loose) *)(p))

/// Adds the products of one register of each row with one of each column; what `mask` clears of a column counts as zero.
static inline __attribute__((always_inline)) void NAMED(step)(const float *const *rows, const float *const *columns,
                                                              size_t at, const NAMED(integers) * mask,
                                                              V sums[ROWS][3], int across) {
  V v[3];
#pragma unroll
  for (int a = 0; a < across; a++) {
    v[a] = LOAD(columns[a] + at);
    if (mask) v[a] = (V)((NAMED(integers))v[a] & *mask);
  }
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    const V row = LOAD(rows[r] + at);
#pragma unroll
    for (int a = 0; a < across; a++) sums[r][a] = row * v[a] + sums[r][a];
  }
}

/// Up to ROWS rows from `first` on with `across` columns from `column` on.
static inline __attribute__((always_inline)) void NAMED(panel)(const graft_correlation *c, const float *x,
                                                               const float *y, const long *places, size_t first,
                                                               size_t column, float *result, int across) {
  const size_t rows = c->rows - first < ROWS ? c->rows - first : ROWS, rest = c->length % LANES;
  V sums[ROWS][3];
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
#pragma unroll
    for (int a = 0; a < across; a++) sums[r][a] = (V){0};
  }
  NAMED(integers) mask;
  for (size_t i = 0; i < LANES; i++) mask[i] = i < LANES - rest ? 0 : -1;
  for (size_t image = 0; image < c->images; image++) {
    const float *row[ROWS], *from[3];
#pragma unroll
    for (size_t r = 0; r < ROWS; r++) {
      // Where there are fewer rows, the last stands in, and its sums are left.
      row[r] = x + image * c->row_stride + (first + (r < rows ? r : rows - 1)) * c->row_pitch;
    }
#pragma unroll
    for (int a = 0; a < across; a++) from[a] = y + image * c->column_stride + places[column + (size_t)a];
    size_t i = 0;
    for (; i + LANES <= c->length; i += LANES) NAMED(step)(row, from, i, NULL, sums, across);
    if (rest == 0) continue;
    if (c->length >= LANES) {
      NAMED(step)(row, from, c->length - LANES, &mask, sums, across);
      continue;
    }
    float part[ROWS + 3][LANES] = {{0}};
    const float *short_row[ROWS], *short_from[3];
    for (int r = 0; r < ROWS; r++) short_row[r] = memcpy(part[r], row[r], rest * sizeof(float));
    for (int a = 0; a < across; a++) short_from[a] = memcpy(part[ROWS + a], from[a], rest * sizeof(float));
    NAMED(step)(short_row, short_from, 0, NULL, sums, across);
  }
  for (size_t r = 0; r < rows; r++) {
    for (int a = 0; a < across; a++) {
      float lanes[LANES];
      memcpy(lanes, &sums[r][a], sizeof lanes);
#pragma unroll
      for (int width = LANES / 2; width > 0; width /= 2) {
        for (int i = 0; i < width; i++) lanes[i] += lanes[i + width];
      }
      result[(first + r) * c->row_step + (column + (size_t)a) * c->column_step] += c->scale * lanes[0];
    }
  }
}

static void NAMED(correlate)(const graft_correlation *c, const float *x, const float *y, const long *places,
                             float *result) {
  for (size_t column = 0; column < c->columns; column += 3) {
    const size_t left = c->columns - column;
    for (size_t first = 0; first < c->rows; first += ROWS) {
      if (left >= 3) {
        NAMED(panel)(c, x, y, places, first, column, result, 3);
      } else if (left == 2) {
        NAMED(panel)(c, x, y, places, first, column, result, 2);
      } else {
        NAMED(panel)(c, x, y, places, first, column, result, 1);
      }
    }
  }
}

#undef V
#undef LOAD
