// Following a file that grows.
#include "run_follower.h"

#include <cerrno>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "run_records.h"

namespace lshdp::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMetrics = "metrics.jsonl";
constexpr std::size_t kPieceBytes = 1 << 20;

/// A file that is open for reading, or is not there.
class OpenFile {
 public:
  explicit OpenFile(const fs::path& path) : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor_ < 0 && errno != ENOENT)
      throw UsageError(fmt::format("cannot read {}: {}", path.string(), std::generic_category().message(errno)));
  }
  ~OpenFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  int descriptor() const { return descriptor_; }

 private:
  int descriptor_;
};

bool is_record(const std::string& line, std::string_view kind) {
  return line.find(fmt::format(R"("record":"{}")", kind)) != std::string::npos;
}

}  // namespace

RunFollower::RunFollower(fs::path folder) : folder_(std::move(folder)) {
  for (const char* sign : {kMetrics, "run.json", ".lock"}) {
    if (fs::exists(folder_ / sign)) return;
  }
  throw UsageError(fmt::format("{0} is no run directory: it has no {1}, which `lshdp train --results {0}` writes",
                               folder_.string(), kMetrics));
}

const RunState& RunFollower::look() {
  const OpenFile file(folder_ / kMetrics);
  if (file.descriptor() < 0) return state_;
  struct stat now {};
  if (::fstat(file.descriptor(), &now) != 0) throw RunError("cannot look at " + (folder_ / kMetrics).string());
  if (now.st_ino != file_ || now.st_size < offset_) {
    state_ = {};
    rest_.clear();
    waiting_steps_.clear();
    offset_ = lines_ = 0;
    file_ = now.st_ino;
  }
  read_on(file.descriptor());
  take_steps();
  read_summary();
  return state_;
}

void RunFollower::read_on(int descriptor) {
  std::vector<char> piece(kPieceBytes);
  while (true) {
    const ssize_t count = ::pread(descriptor, piece.data(), piece.size(), offset_);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0)
      throw RunError(
          fmt::format("cannot read {}: {}", (folder_ / kMetrics).string(), std::generic_category().message(errno)));
    if (count == 0) return;
    offset_ += count;
    rest_.append(piece.data(), static_cast<std::size_t>(count));
    std::size_t begin = 0;
    for (std::size_t end = 0; (end = rest_.find('\n', begin)) != std::string::npos; begin = end + 1)
      take(rest_.substr(begin, end - begin));
    rest_.erase(0, begin);
  }
}

void RunFollower::take(const std::string& line) {
  ++lines_;
  const std::string source = fmt::format("{} line {}", (folder_ / kMetrics).string(), lines_);
  if (is_record(line, "step")) {
    waiting_steps_.push_back(line);
    if (waiting_steps_.size() > kRecentSteps) waiting_steps_.pop_front();
  } else if (is_record(line, "run")) {
    state_.run = run_from_json(parse_json(line, source), source);
    state_.steps.clear();
    waiting_steps_.clear();
  } else if (is_record(line, "evaluation")) {
    state_.evaluation = evaluation_from_json(parse_json(line, source), source);
  }
}

void RunFollower::take_steps() {
  const std::string source = (folder_ / kMetrics).string();
  for (const std::string& line : waiting_steps_) {
    if (!state_.run) throw UsageError(fmt::format("{}: its first line must be of a launch", source));
    state_.steps.push_back(step_from_json(parse_json(line, source), state_.run->ranks.size(), source));
    if (state_.steps.size() > kRecentSteps) state_.steps.pop_front();
  }
  waiting_steps_.clear();
}

/// One of an earlier launch says nothing of this one.
void RunFollower::read_summary() {
  state_.finished.reset();
  const fs::path path = folder_ / "summary.json";
  if (!state_.run || !fs::exists(path)) return;
  const Json summary = read_json(path);
  if (json_value_or<std::string>(summary, "time", "", path.string()) >= state_.run->time)
    state_.finished = json_value<bool>(summary, "finished", path.string());
}

}  // namespace lshdp::cli
