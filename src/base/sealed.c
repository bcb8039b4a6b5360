#include "base/sealed.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

static bool write_all(int file, const char *bytes, size_t size_bytes) {
    while (size_bytes > 0) {
        ssize_t written = write(file, bytes, size_bytes);
        if (written < 0 && errno != EINTR) {
            return false;
        }
        bytes += written > 0 ? written : 0;
        size_bytes -= written > 0 ? (size_t)written : 0;
    }
    return true;
}

bool sealed_new(const void *bytes, size_t size_bytes, int *out_file, struct error *err) {
    int file = memfd_create("orrery", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (file < 0) {
        return error_set_errno(err, ERROR_IO, errno, "cannot make a file in memory");
    }
    if (!write_all(file, bytes, size_bytes) || !write_all(file, "", 1) ||
        fcntl(file, F_ADD_SEALS, SEALS) != 0) {
        int failure = errno;
        close(file);
        return error_set_errno(err, ERROR_IO, failure, "cannot fill a file in memory");
    }
    *out_file = file;
    return true;
}

/* Sealed, ordinary shared memory (no huge pages, which are mapped by other rules), and large enough: a page beyond the
 * end of a file would end the reader with SIGBUS. */
static bool is_sealed(int file, size_t size_bytes) {
    struct stat status;
    struct statfs system;
    int seals = fcntl(file, F_GET_SEALS);
    return seals >= 0 && (seals & SEALS) == SEALS && fstat(file, &status) == 0 &&
           fstatfs(file, &system) == 0 && system.f_type == TMPFS_MAGIC && status.st_size >= 0 &&
           (size_t)status.st_size > size_bytes;
}

bool sealed_map(int file, size_t size_bytes, char **out_bytes, struct error *err) {
    if (!is_sealed(file, size_bytes)) {
        return error_set(err, ERROR_IO, "not a sealed file of %zu bytes", size_bytes);
    }
    char *bytes = mmap(NULL, size_bytes + 1, PROT_READ, MAP_SHARED, file, 0);
    if (bytes == MAP_FAILED) {
        return error_set_errno(err, ERROR_IO, errno, "cannot map %zu bytes", size_bytes);
    }
    if (bytes[size_bytes] != '\0') {
        munmap(bytes, size_bytes + 1);
        return error_set(err, ERROR_IO, "not a sealed file of %zu bytes and a NUL", size_bytes);
    }
    *out_bytes = bytes;
    return true;
}

void sealed_unmap(char *bytes, size_t size_bytes) {
    if (bytes != NULL) {
        int failed = munmap(bytes, size_bytes + 1);
        ASSERT(failed == 0);
    }
}
