// A progress bar of one line, redrawn in place.
#include "lshdp/core/progress.h"

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lshdp/core/clock.h"
#include "lshdp/core/text.h"

namespace lshdp {
namespace {

constexpr double kBarInterval = 0.1;
constexpr double kLineInterval = 10;
constexpr std::int64_t kBarWidth = 24;

std::size_t terminal_columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

Progress::Progress(std::string title, std::int64_t total, bool enabled, std::int64_t parts, std::string unit)
    : title_(std::move(title)),
      total_(std::max<std::int64_t>(total, 1)),
      parts_(parts),
      unit_(std::move(unit)),
      enabled_(enabled),
      terminal_(isatty(STDERR_FILENO) == 1),
      begun_(now_seconds()),
      last_drawn_(begun_ - (terminal_ ? kBarInterval : 0)) {}

Progress::~Progress() { clear(); }

void Progress::update(std::int64_t done, const std::string& detail) {
  const double now = now_seconds();
  if (!enabled_ || now - last_drawn_ < (terminal_ ? kBarInterval : kLineInterval)) return;
  last_drawn_ = now;
  done = std::clamp<std::int64_t>(done, 0, total_);
  const double left = done > 0 ? (now - begun_) * static_cast<double>(total_ - done) / static_cast<double>(done) : 0;
  const std::string text =
      fmt::format("{} {}/{}{}{}{}", title_, done / parts_, (total_ + parts_ - 1) / parts_, unit_,
                  detail.empty() ? "" : "  " + detail, done > 0 ? "  " + format_seconds(left) + " left" : "");
  if (!terminal_) {
    std::fprintf(stderr, "%s\n", text.c_str());
    return;
  }
  const std::int64_t filled = kBarWidth * done / total_;
  std::string line = fmt::format("[{}{}] {}", std::string(static_cast<std::size_t>(filled), '#'),
                                 std::string(static_cast<std::size_t>(kBarWidth - filled), '.'), text);
  line.resize(std::min(line.size(), terminal_columns() - 1));
  std::fprintf(stderr, "\r\033[K%s", line.c_str());
  std::fflush(stderr);
  drawn_ = true;
}

void Progress::clear() {
  if (!drawn_) return;
  std::fprintf(stderr, "\r\033[K");
  std::fflush(stderr);
  drawn_ = false;
}

}  // namespace lshdp
