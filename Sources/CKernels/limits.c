/// What the machine can do at most: multiply-adds a second and bytes read a second, on one core.
#include <time.h>

#include "kernels.h"

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/// Runs `rounds` rounds of independent multiply-adds and returns how many floating-point operations they were.
static uint64_t portable_fma_loop(uint64_t rounds, float *sink) {
  float lanes[64];
  for (int i = 0; i < 64; i++) lanes[i] = 1;
  for (uint64_t r = 0; r < rounds; r++) {
    for (int i = 0; i < 64; i++) lanes[i] = lanes[i] * 0.999f + 0.001f;
  }
  for (int i = 0; i < 64; i++) *sink += lanes[i];
  return rounds * 128;
}

static uint64_t portable_read(const void *buffer, size_t bytes) {
  const uint8_t *p = buffer;
  uint64_t lanes[8] = {0}, sum = 0;
  for (size_t i = 0; i + 64 <= bytes; i += 64) {
    uint64_t words[8];
    memcpy(words, p + i, 64);
    for (int k = 0; k < 8; k++) lanes[k] += words[k];
  }
  for (int k = 0; k < 8; k++) sum += lanes[k];
  return sum;
}

static uint64_t fma_loop(uint64_t rounds, float *sink) {
#if defined(__x86_64__)
  if (graft_uses_avx2()) return graft_avx2_fma_loop(rounds, sink);
#endif
  return portable_fma_loop(rounds, sink);
}

static uint64_t read_all(const void *buffer, size_t bytes) {
#if defined(__x86_64__)
  if (graft_uses_avx2()) return graft_avx2_read(buffer, bytes);
#endif
  return portable_read(buffer, bytes);
}

// Volatile, so that the loops' results count as used.
static volatile float last_float;
static volatile uint64_t last_word;

double graft_fma_peak(double seconds) {
  float sink = 0;
  uint64_t operations = 0;
  fma_loop(1 << 16, &sink);
  const double start = now();
  double elapsed;
  do {
    operations += fma_loop(1 << 16, &sink);
    elapsed = now() - start;
  } while (elapsed < seconds);
  last_float = sink;
  return (double)operations / elapsed * 1e-9;
}

double graft_read_bandwidth(const void *buffer, size_t bytes, double seconds) {
  uint64_t sum = read_all(buffer, bytes), passes = 0;
  const double start = now();
  double elapsed;
  do {
    sum += read_all(buffer, bytes);
    passes++;
    elapsed = now() - start;
  } while (elapsed < seconds);
  last_word = sum;
  return (double)passes * (double)bytes / elapsed * 1e-9;
}
