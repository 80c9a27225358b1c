/// Products of a few long rows with many long columns, as the gradient of a thin filter bank needs them.
///
/// A product of matrices proper packs its operands first, which costs more than multiplying them where one has only
/// eight rows; and rows here may start anywhere, so that one plane serves all taps of a filter.
#include <string.h>

#include "CKernels.h"

#pragma STDC FP_CONTRACT ON

#define BODY "correlate.h"
#include "each_width.h"

void graft_correlate(const graft_correlation *c, const float *x, const float *y, const long *places,
                     float *result) {
#if defined(__x86_64__)
  if (c->level == GRAFT_AVX512) return correlate_16(c, x, y, places, result);
  if (c->level == GRAFT_AVX2) return correlate_8(c, x, y, places, result);
#endif
  correlate_4(c, x, y, places, result);
}
