/* What Graft calls of OpenBLAS: CBLAS from its own header, LAPACK through the Fortran symbols, because Debian's
   build carries no LAPACKE. Fortran passes the length of each string argument behind the others. */
#include <cblas.h>
#include <stddef.h>

extern void sgesdd_(const char *jobz, const int *m, const int *n, float *a, const int *lda, float *s, float *u,
                    const int *ldu, float *vt, const int *ldvt, float *work, const int *lwork, int *iwork, int *info,
                    size_t jobz_length);
extern void dgesdd_(const char *jobz, const int *m, const int *n, double *a, const int *lda, double *s, double *u,
                    const int *ldu, double *vt, const int *ldvt, double *work, const int *lwork, int *iwork, int *info,
                    size_t jobz_length);
extern void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info, size_t uplo_length);
extern void dpotrs_(const char *uplo, const int *n, const int *nrhs, const double *a, const int *lda, double *b,
                    const int *ldb, int *info, size_t uplo_length);
extern void dpotri_(const char *uplo, const int *n, double *a, const int *lda, int *info, size_t uplo_length);
extern void ssyevd_(const char *jobz, const char *uplo, const int *n, float *a, const int *lda, float *w, float *work,
                    const int *lwork, int *iwork, const int *liwork, int *info, size_t jobz_length, size_t uplo_length);
extern void sgelqf_(const int *m, const int *n, float *a, const int *lda, float *tau, float *work, const int *lwork,
                    int *info);
extern void sorglq_(const int *m, const int *n, const int *k, float *a, const int *lda, const float *tau, float *work,
                    const int *lwork, int *info);
extern void spotrf_(const char *uplo, const int *n, float *a, const int *lda, int *info, size_t uplo_length);
