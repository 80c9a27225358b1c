/// A plane taken apart by a stride, so that a window slides over it in one flat loop.
#include <string.h>

#include "CKernels.h"

typedef float eight __attribute__((vector_size(32)));
typedef float loose_eight __attribute__((vector_size(32), aligned(4), may_alias));
typedef float loose_four __attribute__((vector_size(16), aligned(4), may_alias));

#define EIGHT(p) (*(loose_eight *)(p))
#define FOUR(p) (*(loose_four *)(p))

/// `count` numbers that lie `stride` apart. What does not fill a register is copied by one that reaches back.
static inline __attribute__((always_inline)) void copy(const float *x, size_t stride, float *y, size_t count) {
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

static inline __attribute__((always_inline)) void lay_phases(const graft_phases *p, const float *x, float around,
                                                             float *laid, size_t stride) {
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

static inline __attribute__((always_inline)) void lay(const graft_phases *p, const float *x, float around,
                                                      float *laid) {
  if (p->stride == 1) return lay_phases(p, x, around, laid, 1);
  if (p->stride == 2) return lay_phases(p, x, around, laid, 2);
  lay_phases(p, x, around, laid, p->stride);
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void lay_avx2(const graft_phases *p, const float *x, float around,
                                                         float *laid) {
  lay(p, x, around, laid);
}
#endif

void graft_lay(const graft_phases *p, const float *x, float around, float *laid) {
#if defined(__x86_64__)
  if (graft_uses_avx2()) return lay_avx2(p, x, around, laid);
#endif
  lay(p, x, around, laid);
}
