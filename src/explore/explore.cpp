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
#include "lshdp/explore/mixed_report.h"
#include "lshdp/explore/profiled_cluster.h"
#include "lshdp/explore/report.h"
#include "lshdp/explore/simulated_step.h"
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
    // Times of what does not fit are of no use, where anything fits.
    const bool timed = candidate.time.seconds > 0;
    if (!timed || !any_fits_) pareto_.offer(candidate);
    if (settings_.device) judge(candidate, summary);
    if (csv_) csv_->add(settings_, candidate);
  }

  Found finish(const SearchCounts& counts, double seconds) {
    if (csv_ && counts.valid > 0) csv_->finish();
    Found found{.counts = counts, .seconds = seconds};
    auto reason = counts.last_refusal.begin();  // both are in rising order of devices
    for (auto& [devices, summary] : summaries_) {
      if (summary.valid == 0) summary.what_leaves_nothing = *reason;
      found.by_devices.push_back(summary);
      ++reason;
    }
    found.some_fit = any_fits_;
    found.pareto = (found.some_fit && settings_.cluster ? fitting_pareto_ : pareto_).candidates();
    found.top = (found.some_fit ? fitting_ : all_).candidates();
    return found;
  }

 private:
  void judge(const Candidate& candidate, DevicesSummary& summary) {
    const Verdict judged = verdict(settings_, candidate);
    if (judged == Verdict::does_not_fit) return;
    ++(judged == Verdict::fits ? summary.fits : judged == Verdict::tight ? summary.tight : summary.host_unknown);
    any_fits_ = true;
    fitting_.offer(candidate);
    if (candidate.time.seconds > 0) fitting_pareto_.offer(candidate);
  }

  const Settings& settings_;
  std::map<std::int64_t, DevicesSummary> summaries_;  // by devices
  Top fitting_, all_;
  ParetoFront pareto_, fitting_pareto_;
  bool any_fits_ = false;
  std::optional<CsvFile> csv_;
};

Found search_all(const Settings& settings, const ExploreRequest& request) {
  Gathering gathering(settings, request);
  const auto begin = std::chrono::steady_clock::now();
  const SearchCounts counts = search(settings.model, settings.trainer, settings.space, settings.hardware(),
                                     [&](const Candidate& one) { gathering.add(one); });
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

using Output = std::pair<const char*, const fs::path*>;

void refuse_same_file(const Output& output, const Output& other) {
  if (!output.second->empty() && fs::weakly_canonical(*output.second) == fs::weakly_canonical(*other.second))
    throw UsageError(fmt::format("{}: this is the file of {}; choose another name", output.first, other.first));
}

/// Before any work is done for them. Returns the folders that are to hold them.
std::vector<NewFolders> check_outputs(const ExploreRequest& request, std::vector<fs::path> inputs) {
  inputs.push_back(request.hugging_face);
  std::vector<NewFolders> folders;
  const Output outputs[] = {{"--csv", &request.csv}, {"--json", &request.json}, {"--trace", &request.trace}};
  for (const auto& [option, output] : outputs) {
    if (output->empty()) continue;
    refuse_overwriting(option, *output, inputs);
    folders.push_back(require_writable_file(*output, option));
  }
  for (std::size_t i = 0; i < std::size(outputs); ++i) {
    for (std::size_t before = 0; before < i; ++before) refuse_same_file(outputs[i], outputs[before]);
  }
  return folders;
}

/// Times are computed where a cluster is chosen.
void require_times(const Settings& settings, const ExploreRequest& request, const std::string& source) {
  const char* asked = !request.trace.empty() ? "--trace" : request.by == RankBy::time ? "--by time" : nullptr;
  if (asked == nullptr) return;
  if (!request.trace.empty() && request.top == 0) throw UsageError("--trace: it shows the first layout; give --top");
  if (settings.hardware()) return;
  throw UsageError(fmt::format("{}: {} is missing, and {} needs it; choose one by {}=NAME", source,
                               settings.cluster ? "device" : "cluster", asked,
                               settings.cluster ? "device" : "cluster"));
}

std::string explore_mixed(const Settings& settings, const ExploreRequest& request, const std::string& source) {
  for (const auto& [option, path] : {Output{"--csv", &request.csv}, Output{"--trace", &request.trace}}) {
    if (!path->empty())
      throw UsageError(
          fmt::format("{}: not written for a cluster of several types of devices; leave it out, --json "
                      "holds what is shown",
                      option));
  }
  const MixedFound found = search_mixed(settings.model, settings.trainer, settings.space, *settings.cluster, request.by,
                                        request.top, settings.efficiency);
  if (found.valid == 0) {
    std::vector<std::string> reasons;
    for (const auto& [reason, combinations] : found.refused)
      reasons.push_back(fmt::format("{} ({})", reason, format_count(combinations)));
    throw UsageError(fmt::format("{}: no combination is possible: {}", source, fmt::join(reasons, "; ")));
  }
  if (!request.json.empty()) write_json(request.json, to_json(settings, found));
  return describe(settings, found, request.by);
}

}  // namespace

std::string explore(const ExploreRequest& request) {
  const std::string source = request.hugging_face.empty() ? request.config_name : request.hugging_face.string();
  Configuration configuration = configuration_of(request);
  read_profiled_cluster(configuration.tree, source);
  const std::vector<NewFolders> made = check_outputs(request, configuration.files);
  const Settings settings = read_settings(configuration.tree, source);
  if (settings.cluster && settings.cluster->is_mixed()) return explore_mixed(settings, request, source);
  require_times(settings, request, source);
  const Found found = search_all(settings, request);
  if (found.counts.valid == 0) refuse_empty(found.counts, source);
  if (!request.json.empty()) write_json(request.json, to_json(settings, found));
  if (!request.trace.empty()) write_file(request.trace, json_text(simulated_trace(settings, found.top.front().layout)));
  return describe(settings, found, request.by);
}

}  // namespace lshdp::explore
