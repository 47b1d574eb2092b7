// Holds every packet that leaves by a tap device for a fixed time and hands it back by the same device: what netem's
// delay does, for kernels that have none (scripts/cluster.sh).
//
// usage: delay_relay DEVICE NANOSECONDS    in the network namespace of the device, which must exist
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

constexpr std::size_t kLargestPacket = (64 << 10) + 256;  // a segment of TCP not yet cut up, and its headers
constexpr std::size_t kMostHeld = 10'000;

[[noreturn]] void fail(const std::string& what) { throw std::system_error(errno, std::generic_category(), what); }

/// The device whole: packets come with their header for segmentation and checksums, so that nothing is cut up for us.
int open_tap(const std::string& device) {
  const int tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tap < 0) fail("/dev/net/tun");
  ifreq request{};
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  device.copy(request.ifr_name, IFNAMSIZ - 1);
  if (ioctl(tap, TUNSETIFF, &request) < 0) fail(device);
  if (ioctl(tap, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) < 0) fail(device + ": segmentation offload");
  return tap;
}

struct Packet {
  Clock::time_point leaves;
  std::vector<char> bytes;  // kLargestPacket, of which `size` are used
  std::size_t size = 0;
};

class Relay {
 public:
  Relay(int tap, nanoseconds delay) : tap_(tap), delay_(delay) {}

  [[noreturn]] void run() {
    for (;;) {
      wait();
      take();
      hand_back();
    }
  }

 private:
  /// Until a packet comes or the first one held is due.
  void wait() {
    pollfd poll{.fd = tap_, .events = static_cast<short>(held_.size() < kMostHeld ? POLLIN : 0), .revents = 0};
    timespec timeout{};
    if (!held_.empty()) {
      const auto left = std::max(nanoseconds(0), nanoseconds(held_.front().leaves - Clock::now())).count();
      timeout = {.tv_sec = left / 1'000'000'000, .tv_nsec = left % 1'000'000'000};
    }
    if (ppoll(&poll, 1, held_.empty() ? nullptr : &timeout, nullptr) < 0 && errno != EINTR) fail("waiting for packets");
  }

  void take() {
    while (held_.size() < kMostHeld) {
      std::vector<char> bytes = spare();
      const ssize_t size = read(tap_, bytes.data(), bytes.size());
      if (size < 0) {
        free_.push_back(std::move(bytes));
        if (errno == EAGAIN || errno == EINTR) return;
        fail("reading a packet");
      }
      held_.push_back({Clock::now() + delay_, std::move(bytes), static_cast<std::size_t>(size)});
    }
  }

  void hand_back() {
    while (!held_.empty() && held_.front().leaves <= Clock::now()) {
      Packet packet = std::move(held_.front());
      held_.pop_front();
      // A packet that the namespace refuses is lost, as on a wire.
      if (write(tap_, packet.bytes.data(), packet.size) < 0 && errno == EBADFD) fail("the device is down");
      free_.push_back(std::move(packet.bytes));
    }
  }

  std::vector<char> spare() {
    if (free_.empty()) return std::vector<char>(kLargestPacket);
    std::vector<char> bytes = std::move(free_.back());
    free_.pop_back();
    return bytes;
  }

  int tap_;
  nanoseconds delay_;
  std::deque<Packet> held_;
  std::vector<std::vector<char>> free_;
};

std::optional<nanoseconds> parse_delay(std::string_view text) {
  nanoseconds::rep value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value <= 0) return std::nullopt;
  return nanoseconds(value);
}

}  // namespace

int main(int argc, char** argv) {
  const std::optional<nanoseconds> delay = argc == 3 ? parse_delay(argv[2]) : std::nullopt;
  if (!delay) {
    std::fputs("usage: delay_relay DEVICE NANOSECONDS\n", stderr);
    return 2;
  }
  try {
    prctl(PR_SET_TIMERSLACK, 1UL);  // the default lets a wake-up be 50 us late
    Relay(open_tap(argv[1]), *delay).run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "delay_relay: %s\n", error.what());
    return 1;
  }
}
