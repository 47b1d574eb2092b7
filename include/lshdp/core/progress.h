// Progress of long work on stderr: a bar on a terminal, a line now and then otherwise.
#pragma once
#include <cstdint>
#include <string>

namespace lshdp {

/// Shows how far a piece of work is. Only the rank that prints makes one.
class Progress {
 public:
  /// `total` units of work called `title`; `enabled` = false makes every call do nothing. `parts` of a unit are
  /// counted: with 10, a total of 200 is shown as 20, followed by `unit`.
  Progress(std::string title, std::int64_t total, bool enabled, std::int64_t parts = 1, std::string unit = "");
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// `done` units are finished; `detail` stands behind the bar. Draws at most ten times a second (a line every ten
  /// seconds).
  void update(std::int64_t done, const std::string& detail = {});
  /// Removes the bar, so that other output can follow on a clean line; the next update draws it again.
  void clear();
  /// True if standard error is a terminal and shows a bar.
  bool on_terminal() const { return enabled_ && terminal_; }

 private:
  std::string title_;
  std::int64_t total_, parts_;
  std::string unit_;
  bool enabled_;
  bool terminal_;
  bool drawn_ = false;
  double begun_;
  double last_drawn_;
};

}  // namespace lshdp
