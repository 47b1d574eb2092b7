// Starts only where the C++ library has the newest symbols that the bundled programs need; the launcher tries it.
#include <condition_variable>
#include <mutex>

int main() {
  std::mutex mutex;
  std::condition_variable changed;
  std::unique_lock lock(mutex);
  volatile bool ready = true;
  while (!ready) changed.wait(lock);  // of GLIBCXX_3.4.30
  return 0;
}
