/// Gives OpenBLAS the kernels that the processor can run.
///
/// OpenBLAS with run-time dispatch chooses by the processor's model number, and takes a model newer than itself for the
/// plainest of its make: Debian 12's runs its kernels of 2004 on an Emerald Rapids, at a third of the speed. What a
/// processor can do is better asked of itself. The choice is made before main, while there is one thread and no product
/// has been computed; where the user has set OPENBLAS_CORETYPE, or the library was built for one processor, nothing
/// happens.
#define _GNU_SOURCE
#include "kernels.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/// What OpenBLAS calls the kernels it runs; nothing where it is not linked.
const char *graft_blas_core(void) {
  char *(*name)(void) = (char *(*)(void))dlsym(RTLD_DEFAULT, "openblas_get_corename");
  return name ? name() : "";
}

#if defined(__x86_64__)

/// Whether kernels of that name use what AVX2 and FMA offer.
static bool is_wide(const char *core) {
  static const char *const wide[] = {"Haswell", "Zen", "Excavator", "SkylakeX", "Cooperlake", "SapphireRapids"};
  for (size_t i = 0; i < sizeof wide / sizeof *wide; i++) {
    if (strcasecmp(core, wide[i]) == 0) return true;
  }
  return false;
}

__attribute__((constructor)) static void choose_blas_kernels(void) {
  void (*forget)(void) = (void (*)(void))dlsym(RTLD_DEFAULT, "gotoblas_dynamic_quit");
  void (*choose)(void) = (void (*)(void))dlsym(RTLD_DEFAULT, "gotoblas_dynamic_init");
  const char *variable = "OPENBLAS_CORETYPE", *core = graft_blas_core();
  if (!forget || !choose || !*core || is_wide(core) || getenv(variable)) return;
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return;
  bool has512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                __builtin_cpu_supports("avx512cd");
  // The library reads its choice from the environment, which is left as it was.
  if (setenv(variable, has512 ? "SkylakeX" : "Haswell", 1) != 0) return;
  forget();
  choose();
  unsetenv(variable);
}

#endif
