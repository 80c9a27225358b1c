/// Convolutions of 3 x 3 by Winograd's algorithm F(2 x 2, 3 x 3): sixteen multiplications for four results, not 36.
///
/// Every tile of 4 x 4 inputs overlaps its neighbours by two and gives 2 x 2 outputs. Inputs and filters are transformed,
/// the sixteen numbers of each are multiplied and summed over channels as sixteen matrix products, and the sums
/// transformed back (Lavin and Gray 2015, arXiv:1509.09308). Rounding errors are about those of the plain sum.
#include <string.h>

#include "CKernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#pragma STDC FP_CONTRACT ON

/// Outputs that go together in a product.
static size_t outputs_together(const graft_winograd *w) { return w->level == GRAFT_AVX512 ? 8 : 4; }

static size_t padded_outputs(const graft_winograd *w) {
  const size_t together = outputs_together(w);
  return (w->outputs + together - 1) / together * together;
}

static size_t tiles_across(const graft_winograd *w) { return (w->output_width + 1) / 2; }

static size_t tiles_down(const graft_winograd *w) { return (w->output_height + 1) / 2; }

/// From one channel's tiles to the next's: whole registers, one more for what is written beyond, and no multiple of a
/// cache's pages.
static size_t padded_tiles(const graft_winograd *w, size_t count) {
  return ((count * tiles_across(w) + 15) / 16 + 1) * 16 | 16;
}

/// From one of the sixteen to the next, of so many numbers each: no multiple of a cache's pages either, or numbers that are
/// written or read together would share the same few places of it.
static size_t apart(size_t count) { return count + 48; }

static size_t filter_part(const graft_winograd *w) { return apart(padded_outputs(w) * w->inputs); }

static size_t tile_part(const graft_winograd *w, size_t pitch) { return apart(w->inputs * pitch); }

static size_t product_part(const graft_winograd *w, size_t pitch) { return apart(padded_outputs(w) * pitch); }

size_t graft_winograd_filter_count(const graft_winograd *w) { return 16 * filter_part(w); }

size_t graft_winograd_scratch_count(const graft_winograd *w, size_t count) {
  const size_t pitch = padded_tiles(w, count);
  return 16 * (tile_part(w, pitch) + product_part(w, pitch));
}

/// The transforms of up to eight filters at a time, g₀, (g₀ + g₁ + g₂) / 2, (g₀ - g₁ + g₂) / 2 and g₂ along each axis.
void graft_winograd_filters(const graft_winograd *w, const float *weight, size_t distance, bool is_transposed,
                            size_t first, size_t count, float *filters) {
  const size_t together = outputs_together(w), part = filter_part(w);
  const size_t end = first + count < padded_outputs(w) ? first + count : padded_outputs(w);
  for (size_t k = first; k < end; k += together) {
    for (size_t c = 0; c < w->inputs; c++) {
      float g[9][8] = {{0}}, h[12][8], *target = filters + k * w->inputs + c * together;
      for (size_t r = 0; r < together && k + r < w->outputs; r++) {
        const size_t filter = k - first + r;
        const float *from = is_transposed ? weight + c * distance + filter * 9 : weight + filter * distance + c * 9;
        for (int i = 0; i < 9; i++) g[i][r] = from[is_transposed ? 8 - i : i];
      }
      for (int j = 0; j < 3; j++) {
        for (int r = 0; r < 8; r++) {
          const float outer = g[j][r] + g[6 + j][r];
          h[j][r] = g[j][r];
          h[3 + j][r] = 0.5f * (outer + g[3 + j][r]);
          h[6 + j][r] = 0.5f * (outer - g[3 + j][r]);
          h[9 + j][r] = g[6 + j][r];
        }
      }
      for (size_t i = 0; i < 4; i++) {
        float u[4][8];
        for (int r = 0; r < 8; r++) {
          const float outer = h[3 * i][r] + h[3 * i + 2][r];
          u[0][r] = h[3 * i][r];
          u[1][r] = 0.5f * (outer + h[3 * i + 1][r]);
          u[2][r] = 0.5f * (outer - h[3 * i + 1][r]);
          u[3][r] = h[3 * i + 2][r];
        }
        for (size_t j = 0; j < 4; j++) {
          float *place = target + (4 * i + j) * part;
          // Copies of a known size are no calls.
          memcpy(place, u[j], 4 * sizeof(float));
          if (together == 8) memcpy(place + 4, u[j] + 4, 4 * sizeof(float));
        }
      }
    }
  }
}

#define ACROSS 3
#define BODY "winograd.h"
#include "each_width.h"

void graft_winograd_convolve(const graft_winograd *w, const float *filters, const float *x, size_t first, size_t count,
                             const float *_Nullable bias, float *y, float *_Nullable beside, float *scratch) {
#if defined(__x86_64__)
  if (w->level == GRAFT_AVX512) return convolve_16(w, filters, x, first, count, bias, y, beside, scratch);
  if (w->level == GRAFT_AVX2) return convolve_8(w, filters, x, first, count, bias, y, beside, scratch);
#endif
  convolve_4(w, filters, x, first, count, bias, y, beside, scratch);
}
