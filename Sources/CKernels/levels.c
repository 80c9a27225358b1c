/// What the codes of four-bit floats stand for.
#include "CKernels.h"

// Sign, exponent, fraction; no infinities. One exponent bit leaves even steps, three leave powers of two.
#define SIGNED(a, b, c, d, e, f, g, h) {a, b, c, d, e, f, g, h, -a, -b, -c, -d, -e, -f, -g, -h}

static const float by_exponent_bits[3][16] = {
    SIGNED(0.0f, 1, 2, 3, 4, 5, 6, 7),
    SIGNED(0.0f, 0.5f, 1, 1.5f, 2, 3, 4, 6),
    SIGNED(0.0f, 1, 2, 4, 8, 16, 32, 64),
};

// Twelfths, divided in single precision as bitsandbytes divides them.
static const float bnb[16] =
    SIGNED(0.0f, 0.0625f / 12.0f, 8.0f / 12.0f, 1, 4.0f / 12.0f, 0.5f, 2.0f / 12.0f, 0.25f);

const float *graft_fp4_levels(unsigned exponent_bits) { return by_exponent_bits[exponent_bits - 1]; }

const float *graft_bnb_fp4_levels(void) { return bnb; }
