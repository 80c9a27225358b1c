/// Compiles NAME, always inlined, once for each level of the processor, and defines graft_NAME, which calls the highest.
///
/// Such a function is written with registers of sixteen floats; where the processor's are shorter, the compiler takes
/// several of them for one.

typedef float sixteen __attribute__((vector_size(64)));
typedef float loose_sixteen __attribute__((vector_size(64), aligned(4), may_alias));

#define SIXTEEN(p) (*(loose_sixteen *)(p))
#define LOAD16(p) ((sixteen) * (const loose_sixteen *)(p))

#define INLINED static inline __attribute__((always_inline))

#if defined(__x86_64__)
#define AT_EACH_LEVEL(name, parameters, arguments)                                                               \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))) static void name##_avx512 parameters {   \
    name arguments;                                                                                              \
  }                                                                                                              \
  __attribute__((target("avx2,fma"))) static void name##_avx2 parameters { name arguments; }                      \
  void graft_##name parameters {                                                                                 \
    switch (graft_processor_level()) {                                                                           \
      case GRAFT_AVX512: return name##_avx512 arguments;                                                         \
      case GRAFT_AVX2: return name##_avx2 arguments;                                                             \
      case GRAFT_PORTABLE: return name arguments;                                                                \
    }                                                                                                            \
  }
#else
#define AT_EACH_LEVEL(name, parameters, arguments) \
  void graft_##name parameters { name arguments; }
#endif
