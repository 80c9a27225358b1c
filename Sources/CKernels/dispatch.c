/// Chooses between the portable kernels and those for wider registers, once, when the program is loaded.
#include "kernels.h"

#include <stdlib.h>

#if defined(__x86_64__)

static graft_level level;

__attribute__((constructor)) static void look_at_the_processor(void) {
  const char *wanted = getenv("GRAFT_KERNELS");
  if (wanted && strcmp(wanted, "portable") == 0) return;
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c")) return;
  level = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                  !(wanted && strcmp(wanted, "avx2") == 0)
              ? GRAFT_AVX512
              : GRAFT_AVX2;
}

graft_level graft_processor_level(void) { return level; }

void graft_unpack(const graft_rows *rows, size_t count, float *values) {
  (level ? graft_avx2_unpack : graft_portable_unpack)(rows, count, values);
}

void graft_gemv(const graft_rows *rows, size_t count, const float *x, float *y) {
  graft_gemv_at(level, rows, count, x, y);
}

void graft_gemv_at(graft_level wanted, const graft_rows *rows, size_t count, const float *x, float *y) {
  switch (wanted < level ? wanted : level) {
    case GRAFT_AVX512: return graft_avx512_gemv(rows, count, x, y);
    case GRAFT_AVX2: return graft_avx2_gemv(rows, count, x, y);
    case GRAFT_PORTABLE: return graft_portable_gemv(rows, count, x, y);
  }
}

void graft_f16_from_f32(const float *values, uint16_t *halves, size_t count) {
  (level ? graft_avx2_f16_from_f32 : graft_portable_f16_from_f32)(values, halves, count);
}

#else

graft_level graft_processor_level(void) { return GRAFT_PORTABLE; }

void graft_unpack(const graft_rows *rows, size_t count, float *values) { graft_portable_unpack(rows, count, values); }

void graft_gemv(const graft_rows *rows, size_t count, const float *x, float *y) {
  graft_portable_gemv(rows, count, x, y);
}

void graft_gemv_at(graft_level wanted, const graft_rows *rows, size_t count, const float *x, float *y) {
  graft_portable_gemv(rows, count, x, y);
}

void graft_f16_from_f32(const float *values, uint16_t *halves, size_t count) {
  graft_portable_f16_from_f32(values, halves, count);
}

#endif

bool graft_uses_avx2(void) { return graft_processor_level() >= GRAFT_AVX2; }

float graft_dot(const graft_rows *rows, const float *x) {
  float sum;
  graft_gemv(rows, 1, x, &sum);
  return sum;
}
