/// A filter sliding over a plane: weighted sums of one array at several distances, and their gradient.
#include "CKernels.h"
#include "each_level.h"

#pragma STDC FP_CONTRACT ON

/// `registers` times sixteen places from `source` and `result` on.
INLINED void weigh_some(const float *source, const long *places, const float *weights, size_t count, float start,
                        float *result, int registers) {
  sixteen sums[4];
#pragma unroll
  for (int k = 0; k < registers; k++) sums[k] = (sixteen){0} + start;
  for (size_t t = 0; t < count; t++) {
    const float *from = source + places[t];
#pragma unroll
    for (int k = 0; k < registers; k++) sums[k] = weights[t] * LOAD16(from + 16 * k) + sums[k];
  }
#pragma unroll
  for (int k = 0; k < registers; k++) SIXTEEN(result + 16 * k) = sums[k];
}

INLINED void weigh(const float *source, const long *places, const float *weights, size_t count, float start,
                   size_t length, float *result) {
  size_t i = 0;
  for (; i + 64 <= length; i += 64) weigh_some(source + i, places, weights, count, start, result + i, 4);
  for (; i < length; i += 32) weigh_some(source + i, places, weights, count, start, result + i, 2);
}

/// Of `taps` taps together, so that the gradient is read once for all of them.
INLINED void weigh_back_some(const float *source, const long *places, const float *gradient, size_t length,
                             float *weights, int taps) {
  sixteen sums[5];
  const float *from[5];
#pragma unroll
  for (int t = 0; t < taps; t++) {
    sums[t] = (sixteen){0};
    from[t] = source + places[t];
  }
  for (size_t i = 0; i < length; i += 16) {
    const sixteen g = LOAD16(gradient + i);
#pragma unroll
    for (int t = 0; t < taps; t++) sums[t] = g * LOAD16(from[t] + i) + sums[t];
  }
#pragma unroll
  for (int t = 0; t < taps; t++) {
    float lanes[16];
    SIXTEEN(lanes) = sums[t];
#pragma unroll
    for (int width = 8; width > 0; width /= 2) {
      for (int i = 0; i < width; i++) lanes[i] += lanes[i + width];
    }
    weights[t] += lanes[0];
  }
}

INLINED void weigh_back(const float *source, const long *places, const float *gradient, size_t count, size_t length,
                        float *weights) {
  size_t t = 0;
  for (; t + 5 <= count; t += 5) weigh_back_some(source, places + t, gradient, length, weights + t, 5);
  for (; t + 4 <= count; t += 4) weigh_back_some(source, places + t, gradient, length, weights + t, 4);
  for (; t < count; t++) weigh_back_some(source, places + t, gradient, length, weights + t, 1);
}

AT_EACH_LEVEL(weigh,
              (const float *source, const long *places, const float *weights, size_t count, float start, size_t length,
               float *result),
              (source, places, weights, count, start, length, result))
AT_EACH_LEVEL(weigh_back,
              (const float *source, const long *places, const float *gradient, size_t count, size_t length,
               float *weights),
              (source, places, gradient, count, length, weights))
