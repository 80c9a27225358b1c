/// Compiles BODY, the name of a header, once for each width of register: with LANES, the floats of one, ROWS, the rows that go
/// together, and NAMED(name), which tells the widths' functions apart.

#define LANES 4
#define ROWS 4
#define NAMED(name) name##_4
#include BODY
#undef LANES
#undef ROWS
#undef NAMED

#if defined(__x86_64__)

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define LANES 8
#define ROWS 4
#define NAMED(name) name##_8
#include BODY
#undef LANES
#undef ROWS
#undef NAMED
#pragma clang attribute pop

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), \
                             apply_to = function)
#define LANES 16
#define ROWS 8
#define NAMED(name) name##_16
#include BODY
#pragma clang attribute pop

#endif
