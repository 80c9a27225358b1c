/* HDF5's constants are macros that call functions, which Swift cannot import; these wrap the ones Graft uses. */
#include <errno.h>
#include <hdf5.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static inline hid_t graft_H5T_IEEE_F32LE(void) { return H5T_IEEE_F32LE; }
static inline hid_t graft_H5T_IEEE_F32BE(void) { return H5T_IEEE_F32BE; }
static inline hid_t graft_H5T_STD_I64LE(void) { return H5T_STD_I64LE; }
static inline hid_t graft_H5T_STD_I64BE(void) { return H5T_STD_I64BE; }
static inline hid_t graft_H5T_STD_I32LE(void) { return H5T_STD_I32LE; }
static inline hid_t graft_H5T_STD_I32BE(void) { return H5T_STD_I32BE; }
static inline hid_t graft_H5T_STD_U8LE(void) { return H5T_STD_U8LE; }
static inline hid_t graft_H5T_STD_U8BE(void) { return H5T_STD_U8BE; }
static inline hid_t graft_H5T_NATIVE_FLOAT(void) { return H5T_NATIVE_FLOAT; }
static inline hid_t graft_H5T_NATIVE_INT64(void) { return H5T_NATIVE_INT64; }
static inline hid_t graft_H5T_NATIVE_INT32(void) { return H5T_NATIVE_INT32; }
static inline hid_t graft_H5T_NATIVE_UINT8(void) { return H5T_NATIVE_UINT8; }
static inline hid_t graft_H5T_C_S1(void) { return H5T_C_S1; }
static inline hid_t graft_H5P_DATASET_CREATE(void) { return H5P_DATASET_CREATE; }
static inline hid_t graft_H5P_DATASET_ACCESS(void) { return H5P_DATASET_ACCESS; }
static inline hid_t graft_H5P_FILE_CREATE(void) { return H5P_FILE_CREATE; }
static inline hid_t graft_H5P_FILE_ACCESS(void) { return H5P_FILE_ACCESS; }
static inline hid_t graft_H5P_LINK_CREATE(void) { return H5P_LINK_CREATE; }
static inline unsigned graft_H5F_ACC_TRUNC(void) { return H5F_ACC_TRUNC; }
static inline unsigned graft_H5F_ACC_RDONLY(void) { return H5F_ACC_RDONLY; }

/* Positive for a hard link, 0 for any other, negative where there is none. H5L_info_t is one of two types by version. */
static inline int graft_H5L_is_hard(hid_t file, const char *name) {
  H5L_info_t link;
  if (H5Lexists(file, name, H5P_DEFAULT) <= 0 || H5Lget_info(file, name, &link, H5P_DEFAULT) < 0) return -1;
  return link.type == H5L_TYPE_HARD;
}

/* Runs `body` in a child for at most `seconds` and with at most `memory` bytes of addresses: 0 when it returned, the signal
   that ended it, -1 when there was no child. What the child writes to `text`, of `size` bytes, is there afterwards. */
static inline int graft_trial(void (*body)(void *, char *), void *context, unsigned seconds, size_t memory, char *text,
                              size_t size) {
  char *shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return -1;
  const pid_t child = fork();
  if (child == 0) {
    const struct rlimit none = {0, 0}, most = {memory, memory};
    setrlimit(RLIMIT_CORE, &none);
    setrlimit(RLIMIT_AS, &most);
    /* The library tells what went wrong at length; the parent will tell it once. */
    close(STDERR_FILENO);
    alarm(seconds);
    body(context, shared);
    _exit(0);
  }
  int status = 0, result = child < 0 ? -1 : 0;
  while (child > 0 && waitpid(child, &status, 0) < 0)
    if (errno != EINTR) {
      result = -1;
      break;
    }
  if (result == 0 && WIFSIGNALED(status)) result = WTERMSIG(status);
  memcpy(text, shared, size);
  text[size - 1] = 0;
  munmap(shared, size);
  return result;
}
