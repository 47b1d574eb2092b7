// arc4random for systems whose libc has none (glibc before 2.36): bundled libraries that were linked to libc's use it there.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>

void arc4random_buf(void* buffer, size_t size) {
  unsigned char* at = buffer;
  while (size > 0) {
    const size_t piece = size < 256 ? size : 256;  // so many bytes come whole, or not at all
    if (getrandom(at, piece, 0) == (ssize_t)piece) {
      at += piece;
      size -= piece;
    }
  }
}

uint32_t arc4random(void) {
  uint32_t value = 0;
  arc4random_buf(&value, sizeof value);
  return value;
}
