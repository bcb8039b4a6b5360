/* Sealed files: bytes in memory (memfd_create(2)) that processes hand to each other by descriptor, without copying
 * them. A seal cannot be taken back: nobody can write to the file, shrink it or grow it any more, so whoever gets one
 * may map it and read it like memory of its own, whoever made it. Any thread. */
#ifndef ORRERY_BASE_SEALED_H
#define ORRERY_BASE_SEALED_H

#include "base/error.h"

/* Makes one of these bytes and a NUL behind them. The caller closes `out_file`. ERROR_IO. */
MUST_CHECK bool sealed_new(const void *bytes, size_t size_bytes, int *out_file, struct error *err);

/* Maps a file that another process says is one of so many bytes, and a NUL. ERROR_IO if it is not; then it is not
 * touched. The file may be closed afterwards. */
MUST_CHECK bool sealed_map(int file, size_t size_bytes, char **out_bytes, struct error *err);
/* NULL is accepted. */
void sealed_unmap(char *bytes, size_t size_bytes);

#endif
