// A file system without locks, for programs that load this library first.
#include <cerrno>

#include <sys/file.h>

extern "C" int flock(int /*descriptor*/, int /*operation*/) noexcept {
  errno = ENOLCK;
  return -1;
}
