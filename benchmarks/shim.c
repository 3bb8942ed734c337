/* Counts fsync and fdatasync, and makes each of them slower when told to. Loaded with LD_PRELOAD, so that a
   peer's own SQLite is counted whatever language or library calls it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <unistd.h>

static atomic_long count;
static atomic_long delay_us;

long bench_fsyncs(void) { return atomic_load(&count); }

void bench_slow(long microseconds) { atomic_store(&delay_us, microseconds); }

static int counted(const char *name, int fd) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  int result = real(fd);
  atomic_fetch_add(&count, 1);
  long wait = atomic_load(&delay_us);
  if (wait > 0) usleep((useconds_t)wait);
  return result;
}

int fsync(int fd) { return counted("fsync", fd); }

int fdatasync(int fd) { return counted("fdatasync", fd); }
