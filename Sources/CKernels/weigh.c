/// Weighted sums of one array at several distances: a filter sliding over a plane.
#include "CKernels.h"

#pragma STDC FP_CONTRACT ON

typedef float eight __attribute__((vector_size(32)));
typedef float loose_eight __attribute__((vector_size(32), aligned(4), may_alias));

/// `registers` times eight places from `source` and `result` on.
static inline __attribute__((always_inline)) void weigh_some(const float *source, const long *places,
                                                             const float *weights, size_t count, float start,
                                                             float *result, int registers) {
  eight sums[8];
#pragma unroll
  for (int k = 0; k < registers; k++) sums[k] = (eight){0} + start;
  for (size_t t = 0; t < count; t++) {
    const float *from = source + places[t];
#pragma unroll
    for (int k = 0; k < registers; k++) sums[k] = weights[t] * *(const loose_eight *)(from + 8 * k) + sums[k];
  }
#pragma unroll
  for (int k = 0; k < registers; k++) *(loose_eight *)(result + 8 * k) = sums[k];
}

static inline __attribute__((always_inline)) void weigh(const float *source, const long *places, const float *weights,
                                                        size_t count, float start, size_t length, float *result) {
  size_t i = 0;
  // Eight chains of additions, as many as fused multiply-adds are under way at one time.
  for (; i + 64 <= length; i += 64) weigh_some(source + i, places, weights, count, start, result + i, 8);
  for (; i < length; i += 32) weigh_some(source + i, places, weights, count, start, result + i, 4);
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void weigh_avx2(const float *source, const long *places,
                                                           const float *weights, size_t count, float start,
                                                           size_t length, float *result) {
  weigh(source, places, weights, count, start, length, result);
}
#endif

void graft_weigh(const float *source, const long *places, const float *weights, size_t count, float start,
                 size_t length, float *result) {
#if defined(__x86_64__)
  if (graft_uses_avx2()) return weigh_avx2(source, places, weights, count, start, length, result);
#endif
  weigh(source, places, weights, count, start, length, result);
}
