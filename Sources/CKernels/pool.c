/// The largest number under a window that slides over a plane, and the way back to it.
#include <math.h>
#include <string.h>

#include "CKernels.h"
#include "each_level.h"

/// Places that are looked at together.
#define TOGETHER 64

static size_t across(const graft_pool *p) { return (p->kernel - 1) / p->stride; }

/// Places a row, and from one phase to the next: loops run over whole groups and read as far beyond as the last tap.
static size_t pitch(const graft_pool *p) { return p->output_width + across(p); }

static size_t phase_size(const graft_pool *p) {
  const size_t count = (p->output_height + across(p)) * pitch(p);
  return (count + TOGETHER - 1) / TOGETHER * TOGETHER + across(p) + TOGETHER;
}

static size_t flat_count(const graft_pool *p) {
  return (p->output_height * pitch(p) + TOGETHER - 1) / TOGETHER * TOGETHER;
}

size_t graft_pool_scratch_count(const graft_pool *p) {
  return p->stride * p->stride * phase_size(p) + 2 * flat_count(p);
}

INLINED void max_pool(const graft_pool *p, const float *x, float *y, uint16_t *winners, float *scratch) {
  const size_t size = phase_size(p), line = pitch(p), flat = flat_count(p), stride = p->stride;
  float *largest = scratch + stride * stride * size;
  int32_t *taps = (int32_t *)(largest + flat);
  const graft_phases phases = {p->height, p->width, p->top, p->left, stride, p->output_height + across(p), line, size};
  graft_lay(&phases, x, -INFINITY, scratch);
  for (size_t o = 0; o < flat; o += TOGETHER) {
    float best[TOGETHER];
    int32_t tap[TOGETHER];
    for (int i = 0; i < TOGETHER; i++) {
      best[i] = -INFINITY;
      tap[i] = 0;
    }
    for (size_t ky = 0; ky < p->kernel; ky++) {
      for (size_t kx = 0; kx < p->kernel; kx++) {
        const float *from = scratch + (ky % stride * stride + kx % stride) * size + ky / stride * line + kx / stride + o;
        const int32_t here = (int32_t)(ky << 8 | kx);
        for (int i = 0; i < TOGETHER; i++) {
          const float v = from[i];
          const bool wins = (v > best[i]) | (v != v);
          best[i] = wins ? v : best[i];
          tap[i] = wins ? here : tap[i];
        }
      }
    }
    memcpy(largest + o, best, sizeof best);
    memcpy(taps + o, tap, sizeof tap);
  }
  for (size_t row = 0; row < p->output_height; row++) {
    memcpy(y + row * p->output_width, largest + row * line, p->output_width * sizeof(float));
    if (!winners) continue;
    uint16_t *target = winners + row * p->output_width;
    for (size_t i = 0; i < p->output_width; i++) target[i] = (uint16_t)taps[row * line + i];
    for (size_t i = 0; i < p->output_width; i++) {
      if (largest[row * line + i] != -INFINITY) continue;
      // Nothing beat the padding: the first within the image has it.
      const size_t ky = p->top > row * stride ? p->top - row * stride : 0;
      const size_t kx = p->left > i * stride ? p->left - i * stride : 0;
      target[i] = (uint16_t)(ky << 8 | kx);
    }
  }
}

AT_EACH_LEVEL(max_pool,
              (const graft_pool *p, const float *x, float *y, uint16_t *_Nullable winners, float *scratch),
              (p, x, y, winners, scratch))

void graft_max_pool_back(const graft_pool *p, const float *gradient, const uint16_t *winners, float *x) {
  for (size_t row = 0; row < p->output_height; row++) {
    for (size_t i = 0; i < p->output_width; i++) {
      const size_t o = row * p->output_width + i, ky = winners[o] >> 8, kx = winners[o] & 255;
      x[(row * p->stride + ky - p->top) * p->width + i * p->stride + kx - p->left] += gradient[o];
    }
  }
}
