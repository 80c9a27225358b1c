/// Chooses between the portable kernels and those for AVX2, once, when the program is loaded.
#include "kernels.h"

#if defined(__x86_64__)

static bool avx2;

__attribute__((constructor)) static void look_at_the_processor(void) {
  __builtin_cpu_init();
  avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

bool graft_uses_avx2(void) { return avx2; }

void graft_unpack(const graft_rows *rows, size_t count, float *values) {
  (avx2 ? graft_avx2_unpack : graft_portable_unpack)(rows, count, values);
}

void graft_gemv(const graft_rows *rows, size_t count, const float *x, float *y) {
  (avx2 ? graft_avx2_gemv : graft_portable_gemv)(rows, count, x, y);
}

void graft_f16_from_f32(const float *values, uint16_t *halves, size_t count) {
  (avx2 ? graft_avx2_f16_from_f32 : graft_portable_f16_from_f32)(values, halves, count);
}

#else

bool graft_uses_avx2(void) { return false; }

void graft_unpack(const graft_rows *rows, size_t count, float *values) { graft_portable_unpack(rows, count, values); }

void graft_gemv(const graft_rows *rows, size_t count, const float *x, float *y) {
  graft_portable_gemv(rows, count, x, y);
}

void graft_f16_from_f32(const float *values, uint16_t *halves, size_t count) {
  graft_portable_f16_from_f32(values, halves, count);
}

#endif

float graft_dot(const graft_rows *rows, const float *x) {
  float sum;
  graft_gemv(rows, 1, x, &sum);
  return sum;
}
