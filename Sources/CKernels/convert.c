/// Conversions from single precision, and the tables of levels.
#include "kernels.h"

uint16_t graft_f16_bits(float value) {
  const uint32_t bits = bits_of_float(value), magnitude = bits & 0x7fffffff;
  const uint16_t sign = (uint16_t)((bits >> 16) & 0x8000);
  if (magnitude > 0x7f800000) return sign | 0x7e00 | (uint16_t)((magnitude >> 13) & 0x3ff);
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // Beside 0.5 the spacing of floats is that of the smallest halves, so the sum rounds as they must.
    return sign | (uint16_t)(bits_of_float(float_of_bits(magnitude) + 0.5f) - 0x3f000000);
  }
  const uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
  return sign | (uint16_t)((rounded - 0x38000000) >> 13);
}

float graft_f16_value(uint16_t bits) { return f16_value(bits); }

uint16_t graft_bf16_bits(float value) {
  const uint32_t bits = bits_of_float(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)((bits >> 16) | 0x40);
  return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

float graft_bf16_value(uint16_t bits) { return bf16_value(bits); }

void graft_portable_f16_from_f32(const float *values, uint16_t *halves, size_t count) {
  for (size_t i = 0; i < count; i++) halves[i] = graft_f16_bits(values[i]);
}

void graft_bf16_from_f32(const float *values, uint16_t *halves, size_t count) {
  for (size_t i = 0; i < count; i++) halves[i] = graft_bf16_bits(values[i]);
}

const float graft_nf4_table[16] = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f,
};

const int8_t graft_iq4_table[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

const int8_t graft_fp4_table[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

float graft_dynamic_table[256];

/// Fills the dynamic map: in decade `i` of seven, the midpoints of 2ⁱ equal steps from 0.1 to 1, times 10^(i-6),
/// with both signs; then 0 and 1.
__attribute__((constructor)) static void fill_dynamic_levels(void) {
  static const double powers[7] = {1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1};
  float *positive = graft_dynamic_table + 128, *negative = graft_dynamic_table + 126;
  for (int i = 0; i < 7; i++) {
    const int steps = 1 << i;
    for (int k = 0; k < steps; k++) {
      const double middle = 0.1 + (0.9 * k + 0.45) / steps;
      const float level = (float)(middle * powers[i]);
      *positive++ = level;
      *negative-- = -level;
    }
  }
  graft_dynamic_table[127] = 0;
  graft_dynamic_table[255] = 1;
}

const float *graft_nf4_levels(void) { return graft_nf4_table; }

const int8_t *graft_iq4_levels(void) { return graft_iq4_table; }

const float *graft_dynamic_levels(void) { return graft_dynamic_table; }
