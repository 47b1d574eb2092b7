// From a request to its answer.
#include "lshdp/explore/explore.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/text.h"
#include "lshdp/explore/config.h"
#include "lshdp/explore/report.h"
#include "lshdp/explore/verdict.h"

namespace lshdp::explore {
namespace {

namespace fs = std::filesystem;

/// A CSV that is whole or absent, however large.
class CsvFile {
 public:
  explicit CsvFile(const fs::path& path)
      : path_(path), temporary_(path.string() + ".tmp"), lines_(std::in_place, temporary_, false) {
    text_ = fmt::format("{}\n", fmt::join(csv_columns(), ","));
  }
  ~CsvFile() {
    std::error_code error;
    if (lines_) fs::remove(temporary_, error);
  }
  CsvFile(const CsvFile&) = delete;
  CsvFile& operator=(const CsvFile&) = delete;

  void add(const Settings& settings, const Candidate& candidate) {
    append_csv_row(settings, candidate, text_);
    if (text_.size() > kBuffer) flush();
  }
  void finish() {
    flush();
    commit_file(temporary_, path_);
    lines_.reset();
  }

 private:
  static constexpr std::size_t kBuffer = 1 << 18;
  void flush() {
    if (text_.empty()) return;
    text_.pop_back();  // LineWriter ends it
    lines_->write(text_);
    text_.clear();
  }

  fs::path path_, temporary_;
  std::optional<LineWriter> lines_;
  std::string text_;
};

/// Gathers what is reported of the candidates that stream by.
class Gathering {
 public:
  Gathering(const Settings& settings, const ExploreRequest& request)
      : settings_(settings), fitting_(request.top, request.by), all_(request.top, request.by) {
    for (const std::int64_t devices : settings.space.devices) summaries_[devices].devices = devices;
    if (!request.csv.empty()) csv_.emplace(request.csv);
  }

  void add(const Candidate& candidate) {
    DevicesSummary& summary = summaries_[candidate.layout.devices];
    if (summary.valid++ == 0 || comes_before(candidate, summary.least, RankBy::memory)) summary.least = candidate;
    all_.offer(candidate);
    pareto_.offer(candidate);
    if (settings_.device) judge(candidate, summary);
    if (csv_) csv_->add(settings_, candidate);
  }

  Found finish(const SearchCounts& counts, double seconds) {
    if (csv_ && counts.valid > 0) csv_->finish();
    Found found{.counts = counts, .seconds = seconds, .pareto = pareto_.candidates()};
    auto reason = counts.last_refusal.begin();  // both are in rising order of devices
    for (auto& [devices, summary] : summaries_) {
      if (summary.valid == 0) summary.what_leaves_nothing = *reason;
      found.by_devices.push_back(summary);
      ++reason;
    }
    found.some_fit = !fitting_.candidates().empty();
    found.top = (found.some_fit ? fitting_ : all_).candidates();
    return found;
  }

 private:
  void judge(const Candidate& candidate, DevicesSummary& summary) {
    const Verdict judged = verdict(candidate.worst, *settings_.device);
    if (judged == Verdict::does_not_fit) return;
    ++(judged == Verdict::fits ? summary.fits : summary.tight);
    fitting_.offer(candidate);
  }

  const Settings& settings_;
  std::map<std::int64_t, DevicesSummary> summaries_;  // by devices
  Top fitting_, all_;
  ParetoFront pareto_;
  std::optional<CsvFile> csv_;
};

Found search_all(const Settings& settings, const ExploreRequest& request) {
  Gathering gathering(settings, request);
  const auto begin = std::chrono::steady_clock::now();
  const SearchCounts counts =
      search(settings.model, settings.trainer, settings.space, [&](const Candidate& one) { gathering.add(one); });
  return gathering.finish(counts, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
}

/// Names the constraint behind which nothing is left: the last that refused a combination, for each looks only at those
/// that passed the ones before.
[[noreturn]] void refuse_empty(const SearchCounts& counts, const std::string& source) {
  std::string last;
  std::vector<std::string> before;
  for (std::size_t i = 0; i < kRefusals; ++i) {
    if (counts.refused[i] == 0) continue;
    if (!last.empty()) before.push_back(last);
    last = fmt::format("{} ({})", describe(static_cast<Refusal>(i)), format_count(counts.refused[i]));
  }
  const std::string others = before.empty() ? "" : fmt::format("; refused before it: {}", fmt::join(before, ", "));
  throw UsageError(fmt::format("{}: none of {} combinations is possible; what leaves nothing: {}{}", source,
                               format_count(counts.all()), last, others));
}

/// A configuration with the model of a Hugging Face folder; trainer and device are those of every preset.
Json hugging_face_tree(const fs::path& path) {
  std::error_code error;
  const fs::path file = fs::is_directory(path, error) ? path / "config.json" : path;
  const fs::path named = file.filename() == "config.json" ? fs::absolute(file).parent_path().filename() : file.stem();
  const Json model = model_of_hugging_face(read_json(file), valid_utf8(named.string()), file.string());
  return {{"defaults", {"base", "_self_"}}, {"model", model}};
}

Configuration configuration_of(const ExploreRequest& request) {
  if (request.hugging_face.empty()) return compose(request.folders, request.config_name, request.overrides);
  return compose(request.folders, hugging_face_tree(request.hugging_face), request.hugging_face.string(),
                 request.overrides);
}

/// Before any work is done for them. Returns the folders that are to hold them.
std::vector<NewFolders> check_outputs(const ExploreRequest& request, std::vector<fs::path> inputs) {
  inputs.push_back(request.hugging_face);
  std::vector<NewFolders> folders;
  const std::pair<const char*, const fs::path*> outputs[] = {{"--csv", &request.csv}, {"--json", &request.json}};
  for (const auto& [option, output] : outputs) {
    if (output->empty()) continue;
    refuse_overwriting(option, *output, inputs);
    folders.push_back(require_writable_file(*output, option));
  }
  if (!request.csv.empty() && fs::weakly_canonical(request.csv) == fs::weakly_canonical(request.json))
    throw UsageError("--json: this is the file of --csv; choose another name");
  return folders;
}

}  // namespace

std::string explore(const ExploreRequest& request) {
  const std::string source = request.hugging_face.empty() ? request.config_name : request.hugging_face.string();
  const Configuration configuration = configuration_of(request);
  const std::vector<NewFolders> made = check_outputs(request, configuration.files);
  const Settings settings = read_settings(configuration.tree, source);
  const Found found = search_all(settings, request);
  if (found.counts.valid == 0) refuse_empty(found.counts, source);
  if (!request.json.empty()) write_json(request.json, to_json(settings, found));
  return describe(settings, found, request.by);
}

}  // namespace lshdp::explore
