/// A plane taken apart by a stride, so that a window slides over it in one flat loop.
#include <string.h>

#include "CKernels.h"
#include "each_level.h"

typedef float eight __attribute__((vector_size(32)));
typedef float loose_eight __attribute__((vector_size(32), aligned(4), may_alias));
typedef float loose_four __attribute__((vector_size(16), aligned(4), may_alias));

#define EIGHT(p) (*(loose_eight *)(p))
#define FOUR(p) (*(loose_four *)(p))

/// `count` numbers that lie `stride` apart. What does not fill a register is copied by one that reaches back.
INLINED void copy(const float *x, size_t stride, float *y, size_t count) {
  size_t i = 0;
  if (stride == 1) {
    if (count >= 8) {
      for (; i + 8 <= count; i += 8) EIGHT(y + i) = *(const loose_eight *)(x + i);
      EIGHT(y + count - 8) = *(const loose_eight *)(x + count - 8);
      return;
    }
    if (count >= 4) {
      const loose_four start = *(const loose_four *)x, end = *(const loose_four *)(x + count - 4);
      FOUR(y) = start;
      FOUR(y + count - 4) = end;
      return;
    }
  }
  if (stride == 2) {
    // Sixteen numbers are read for eight, the last of which may be none of the row's.
    for (; i + 9 <= count; i += 8) {
      const eight a = *(const loose_eight *)(x + 2 * i), b = *(const loose_eight *)(x + 2 * i + 8);
      EIGHT(y + i) = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
    }
  }
  for (; i < count; i++) y[i] = x[i * stride];
}

INLINED void lay_phases(const graft_phases *p, const float *x, float around, float *laid, size_t stride) {
  for (size_t i = 0; i < stride * stride * p->size; i++) laid[i] = around;
  for (size_t q = 0; q < stride; q++) {
    // The first place of this phase within the image, and the column it holds.
    const size_t first = p->left <= q ? 0 : (p->left - q + stride - 1) / stride;
    const size_t column = first * stride + q - p->left;
    if (column >= p->width || first >= p->pitch) continue;
    const size_t there = (p->width - column + stride - 1) / stride;
    const size_t count = there < p->pitch - first ? there : p->pitch - first;
    size_t phase = p->top % stride, line = p->top / stride;
    for (size_t row = 0; row < p->height && line < p->rows; row++) {
      copy(x + row * p->width + column, stride, laid + (phase * stride + q) * p->size + line * p->pitch + first, count);
      if (++phase == stride) {
        phase = 0;
        line++;
      }
    }
  }
}

INLINED void lay(const graft_phases *p, const float *x, float around, float *laid) {
  if (p->stride == 1) return lay_phases(p, x, around, laid, 1);
  if (p->stride == 2) return lay_phases(p, x, around, laid, 2);
  lay_phases(p, x, around, laid, p->stride);
}

/// A row of `count` numbers, copied or added.
INLINED void put(const float *x, float *y, size_t count, bool accumulates) {
  if (!accumulates) return copy(x, 1, y, count);
  size_t i = 0;
  for (; i + 16 <= count; i += 16) SIXTEEN(y + i) = LOAD16(y + i) + LOAD16(x + i);
  for (; i < count; i++) y[i] += x[i];
}

INLINED void gather(const float *laid, size_t pitch, size_t rows, size_t width, float *y, bool accumulates) {
  for (size_t row = 0; row < rows; row++) put(laid + row * pitch, y + row * width, width, accumulates);
}

/// `count` numbers of each of two rows in turn.
INLINED void interleave(const float *a, const float *b, float *y, size_t count, bool accumulates) {
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const eight even = *(const loose_eight *)(a + i), odd = *(const loose_eight *)(b + i);
    const sixteen both = __builtin_shufflevector(even, odd, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
    SIXTEEN(y + 2 * i) = accumulates ? LOAD16(y + 2 * i) + both : both;
  }
  for (; i < count; i++) {
    y[2 * i] = accumulates ? y[2 * i] + a[i] : a[i];
    y[2 * i + 1] = accumulates ? y[2 * i + 1] + b[i] : b[i];
  }
}

INLINED void unlay_phases(const graft_phases *p, const float *laid, float *x, bool accumulates, size_t stride) {
  for (size_t row = 0; row < p->height; row++) {
    float *y = x + row * p->width;
    const size_t line = (row + p->top) / stride, phase = (row + p->top) % stride * stride;
    // Beyond the last line no window reads.
    if (line >= p->rows) {
      if (!accumulates) memset(y, 0, p->width * sizeof(float));
      continue;
    }
    const float *from = laid + phase * p->size + line * p->pitch;
    if (stride == 1) {
      const size_t count = p->width < p->pitch - p->left ? p->width : p->pitch - p->left;
      put(from + p->left, y, count, accumulates);
      if (!accumulates) memset(y + count, 0, (p->width - count) * sizeof(float));
      continue;
    }
    size_t column = 0;
    if (stride == 2) {
      const float *even = from + p->left % 2 * p->size + p->left / 2;
      const float *odd = from + (p->left + 1) % 2 * p->size + (p->left + 1) / 2;
      const size_t there = p->pitch - (p->left + 1) / 2, pairs = p->width / 2 < there ? p->width / 2 : there;
      interleave(even, odd, y, pairs, accumulates);
      column = 2 * pairs;
    }
    for (; column < p->width; column++) {
      const size_t at = (column + p->left) / stride;
      const float value = at < p->pitch ? from[(column + p->left) % stride * p->size + at] : 0;
      y[column] = accumulates ? y[column] + value : value;
    }
  }
}

INLINED void unlay(const graft_phases *p, const float *laid, float *x, bool accumulates) {
  if (p->stride == 1) return unlay_phases(p, laid, x, accumulates, 1);
  if (p->stride == 2) return unlay_phases(p, laid, x, accumulates, 2);
  unlay_phases(p, laid, x, accumulates, p->stride);
}

AT_EACH_LEVEL(lay, (const graft_phases *p, const float *x, float around, float *laid), (p, x, around, laid))
AT_EACH_LEVEL(unlay, (const graft_phases *p, const float *laid, float *x, bool accumulates), (p, laid, x, accumulates))
AT_EACH_LEVEL(gather,
              (const float *laid, size_t pitch, size_t rows, size_t width, float *y, bool accumulates),
              (laid, pitch, rows, width, y, accumulates))
