/// A factor and a summand for all numbers of a plane, then a clamp, and the way back: a frozen batch norm with its activation.
#include <string.h>

#include "CKernels.h"
#include "each_level.h"

#pragma STDC FP_CONTRACT ON

typedef int32_t sixteen_integers __attribute__((vector_size(64)));
typedef _Bool sixteen_bits __attribute__((ext_vector_type(16)));

/// `v` where the mask is set, zero elsewhere. No function: one that takes such registers has another ABI at each level.
#define ONLY(mask, v) ((sixteen)((sixteen_integers)(v) & (mask)))

INLINED void affine(const float *x, size_t count, float factor, float shift, const float *added, float *y) {
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const sixteen v = LOAD16(x + i) * factor + shift;
    SIXTEEN(y + i) = added ? v + LOAD16(added + i) : v;
  }
  for (; i < count; i++) y[i] = x[i] * factor + shift + (added ? added[i] : 0);
}

INLINED void clamp(const float *x, size_t count, float factor, float shift, const float *added, float ceiling,
                   uint8_t *mask, float *y) {
  const sixteen none = {0}, top = none + ceiling;
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    sixteen v = LOAD16(x + i) * factor + shift;
    if (added) v += LOAD16(added + i);
    // What is not a number stays so: it is neither below nor above.
    const sixteen_integers above = v > top;
    SIXTEEN(y + i) = (sixteen)((sixteen_integers)ONLY(~(above | (v < none)), v) | (sixteen_integers)ONLY(above, top));
    if (mask) {
      const sixteen_bits inside = __builtin_convertvector((sixteen_integers)(v > none) & (v < top), sixteen_bits);
      memcpy(mask + i / 8, &inside, 2);
    }
  }
  for (; i < count; i++) {
    const float v = x[i] * factor + shift + (added ? added[i] : 0), risen = v < 0 ? 0 : v;
    y[i] = risen > ceiling ? ceiling : risen;
    if (!mask) continue;
    if (i % 8 == 0) mask[i / 8] = 0;
    mask[i / 8] |= (uint8_t)((v > 0 && v < ceiling) << i % 8);
  }
}

INLINED void clamp_back(const float *gradient, size_t count, float factor, const uint8_t *mask, float *place,
                        bool accumulates) {
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    sixteen v = LOAD16(gradient + i) * factor;
    if (mask) {
      sixteen_bits inside;
      memcpy(&inside, mask + i / 8, 2);
      v = ONLY(-__builtin_convertvector(inside, sixteen_integers), v);
    }
    SIXTEEN(place + i) = accumulates ? LOAD16(place + i) + v : v;
  }
  for (; i < count; i++) {
    const float v = mask && !(mask[i / 8] >> i % 8 & 1) ? 0 : gradient[i] * factor;
    place[i] = accumulates ? place[i] + v : v;
  }
}

AT_EACH_LEVEL(affine,
              (const float *x, size_t count, float factor, float shift, const float *_Nullable added, float *y),
              (x, count, factor, shift, added, y))
AT_EACH_LEVEL(clamp,
              (const float *x, size_t count, float factor, float shift, const float *_Nullable added, float ceiling,
               uint8_t *_Nullable mask, float *y),
              (x, count, factor, shift, added, ceiling, mask, y))
AT_EACH_LEVEL(clamp_back,
              (const float *gradient, size_t count, float factor, const uint8_t *_Nullable mask, float *place,
               bool accumulates),
              (gradient, count, factor, mask, place, accumulates))
