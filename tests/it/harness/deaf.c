/* Preloaded into a daemon: inotify that fails, or that accepts every watch and never tells anything, as
   on many network file systems. */
#include <errno.h>
#include <stdint.h>

#ifdef REFUSED
int inotify_init1(int flags)
{
    (void)flags;
    errno = EMFILE;
    return -1;
}
#else
int inotify_add_watch(int fd, const char *path, uint32_t mask)
{
    static int next;
    (void)fd, (void)path, (void)mask;
    return ++next;
}
#endif
