/// Products of a few long rows with many long columns, as the gradient of a thin filter bank needs them.
///
/// A product of matrices proper packs its operands first, which costs more than multiplying them where one has only
/// eight rows; and rows here may start anywhere, so that one plane serves all taps of a filter.
#include <string.h>

#include "CKernels.h"

#pragma STDC FP_CONTRACT ON

#define LANES 4
#define ROWS 4
#define NAMED(name) name##_4
#include "correlate.h"
#undef LANES
#undef ROWS
#undef NAMED

#if defined(__x86_64__)

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define LANES 8
#define ROWS 4
#define NAMED(name) name##_8
#include "correlate.h"
#undef LANES
#undef ROWS
#undef NAMED
#pragma clang attribute pop

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), \
                             apply_to = function)
#define LANES 16
#define ROWS 8
#define NAMED(name) name##_16
#include "correlate.h"
#pragma clang attribute pop

#endif

void graft_correlate(const graft_correlation *c, const float *x, const float *y, const long *places,
                     float *result) {
#if defined(__x86_64__)
  if (c->level == GRAFT_AVX512) return correlate_16(c, x, y, places, result);
  if (c->level == GRAFT_AVX2) return correlate_8(c, x, y, places, result);
#endif
  correlate_4(c, x, y, places, result);
}
