/* Loaded before the C library: counts the system calls that touch a folder, and lets one of them fail.

   The call fails with an error, or the process is killed in it. Half of what is to be written is written before, as
   a disk does that fills up. With `lasting`, all later calls fail, too. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[4096];
static char ours[65536]; /* which descriptors are of files in the folder */
static long fails_at, seen;
static int kind, lasting;
static const char *names[65536];

void fault_arm(const char *path, long at, int error, int all_later) {
    strncpy(folder, path, sizeof folder - 1);
    fails_at = at, kind = error, lasting = all_later, seen = 0;
}

long fault_disarm(void) {
    folder[0] = 0;
    return seen;
}

const char *fault_name(long call) { return names[call]; }

static int below(const char *path) {
    size_t length = strlen(folder);
    return length && path && !strncmp(path, folder, length) && (path[length] == '/' || !path[length]);
}

static int known(int fd) { return folder[0] && fd >= 0 && fd < (int)sizeof ours && ours[fd]; }

static int hit(int concerned, const char *name) {
    if (!concerned) return 0;
    if (++seen < 65536) names[seen] = name;
    return seen == fails_at || (lasting && seen > fails_at);
}

static int fail(void) {
    if (kind < 0) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
    errno = kind;
    return -1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define BY_PATH(type, name, parameters, path, arguments)                                                               \
    type name parameters {                                                                                             \
        if (hit(below(path), #name)) return fail();                                                                    \
        return REAL(name) arguments;                                                                                   \
    }

#define BY_FD(type, name, parameters, arguments)                                                                       \
    type name parameters {                                                                                             \
        if (hit(known(fd), #name)) return fail();                                                                      \
        return REAL(name) arguments;                                                                                   \
    }

#define OPEN(name, parameters, arguments, path)                                                                        \
    int name parameters {                                                                                              \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = va_arg(rest, mode_t);                                                                            \
        va_end(rest);                                                                                                  \
        int concerned = below(path);                                                                                   \
        if (hit(concerned, #name)) return fail();                                                                      \
        int fd = REAL(name) arguments;                                                                                 \
        if (fd >= 0 && fd < (int)sizeof ours) ours[fd] = concerned;                                                    \
        return fd;                                                                                                     \
    }

OPEN(open, (const char *path, int flags, ...), (path, flags, mode), path)
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode), path)
OPEN(openat, (int at, const char *path, int flags, ...), (at, path, flags, mode), path)
OPEN(openat64, (int at, const char *path, int flags, ...), (at, path, flags, mode), path)

BY_PATH(int, rename, (const char *old, const char *new), new, (old, new))
BY_PATH(int, renameat, (int a, const char *old, int b, const char *new), new, (a, old, b, new))
BY_PATH(int, unlink, (const char *path), path, (path))
BY_PATH(int, unlinkat, (int at, const char *path, int flags), path, (at, path, flags))
BY_PATH(int, rmdir, (const char *path), path, (path))
BY_PATH(int, mkdir, (const char *path, mode_t mode), path, (path, mode))
BY_PATH(int, mkdirat, (int at, const char *path, mode_t mode), path, (at, path, mode))
BY_PATH(int, symlink, (const char *goal, const char *path), path, (goal, path))
BY_PATH(int, stat, (const char *path, struct stat *found), path, (path, found))
BY_PATH(int, lstat, (const char *path, struct stat *found), path, (path, found))
BY_PATH(int, stat64, (const char *path, struct stat64 *found), path, (path, found))
BY_PATH(int, lstat64, (const char *path, struct stat64 *found), path, (path, found))

BY_FD(int, fstat, (int fd, struct stat *found), (fd, found))
BY_FD(int, fstat64, (int fd, struct stat64 *found), (fd, found))
BY_FD(int, fsync, (int fd), (fd))
BY_FD(int, fdatasync, (int fd), (fd))
BY_FD(int, flock, (int fd, int operation), (fd, operation))
BY_FD(int, ftruncate, (int fd, off_t length), (fd, length))
BY_FD(int, ftruncate64, (int fd, off64_t length), (fd, length))
BY_FD(off_t, lseek, (int fd, off_t offset, int whence), (fd, offset, whence))
BY_FD(off64_t, lseek64, (int fd, off64_t offset, int whence), (fd, offset, whence))
BY_FD(ssize_t, read, (int fd, void *data, size_t size), (fd, data, size))
BY_FD(ssize_t, pread64, (int fd, void *data, size_t size, off64_t at), (fd, data, size, at))

ssize_t sendfile64(int fd, int from, off64_t *at, size_t size) {
    if (hit(known(fd), "sendfile64")) return fail();
    return REAL(sendfile64)(fd, from, at, size);
}

int posix_fadvise(int fd, off_t from, off_t length, int advice) {
    if (hit(known(fd), "posix_fadvise")) return fail(), kind;
    return REAL(posix_fadvise)(fd, from, length, advice);
}

int posix_fadvise64(int fd, off64_t from, off64_t length, int advice) {
    if (hit(known(fd), "posix_fadvise64")) return fail(), kind;
    return REAL(posix_fadvise64)(fd, from, length, advice);
}

ssize_t write(int fd, const void *data, size_t size) {
    if (hit(known(fd), "write")) {
        REAL(write)(fd, data, size / 2);
        return fail();
    }
    return REAL(write)(fd, data, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    if (hit(known(fd), "pwrite64")) {
        REAL(pwrite64)(fd, data, size / 2, at);
        return fail();
    }
    return REAL(pwrite64)(fd, data, size, at);
}

int close(int fd) {
    int fails = hit(known(fd), "close"); /* a file is closed, whatever the call says */
    if (fd >= 0 && fd < (int)sizeof ours) ours[fd] = 0;
    if (fails && kind < 0) return fail();
    int done = REAL(close)(fd);
    return fails ? fail() : done;
}
