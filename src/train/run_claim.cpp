// Looks at a run directory before anything is written into it.
#include "lshdp/train/run_claim.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "checkpoint_manifest.h"
#include "lshdp/comm/agree.h"
#include "lshdp/core/error.h"
#include "lshdp/core/log.h"
#include "run_weights.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;

/// What only a run that has begun leaves behind, and what is made of that.
constexpr const char* kOfARun[] = {"run.json",           "metrics.jsonl", "checkpoints", "summary.json",
                                   "model.safetensors",  "best",          kEmaFolder,    "adapter_model.safetensors",
                                   "adapter_config.json"};
constexpr const char* kOfARunToo[] = {"trace.json",     "report.png", "report.html", "layout.json",
                                      "tokenizer.json", "vocab.json", "merges.txt",  "tensorboard"};

bool holds_run(const fs::path& results) {
  return std::ranges::any_of(kOfARun, [&](const char* name) { return fs::exists(results / name); });
}

/// Whether `resume` is the run in `results`, or a checkpoint of it.
bool continues(const fs::path& resume, const fs::path& results) {
  if (resume.empty()) return false;
  const fs::path from = fs::weakly_canonical(resume);
  const fs::path run = fs::exists(from / kManifest) ? run_of(from) : from;
  return run == fs::weakly_canonical(results);
}

/// Folders of a run that are its own to write and remove.
bool belongs_to_run(const fs::path& folder) {
  const fs::path run = folder.parent_path();
  const bool began = fs::exists(run / "run.json") || fs::exists(run / "metrics.jsonl");
  if (folder.filename() == "checkpoints") return began || !checkpoints_of(run).empty();
  return (folder.filename() == "best" || folder.filename() == kEmaFolder) && began;
}

void require_no_earlier_run(const ClaimRequest& request) {
  if (request.overwrite || request.resume_auto || !holds_run(request.results)) return;
  if (continues(request.resume, request.results)) return;
  const std::string folder = request.results.string();
  const bool resumable = !checkpoints_of(request.results).empty();
  throw UsageError(
      fmt::format("{}: {} holds an earlier run; {}take another folder, or replace it with "
                  "--overwrite",
                  request.option, folder, resumable ? "continue it with --resume " + folder + ", " : ""));
}

}  // namespace

fs::path results_of_resume(comm::Communicator& communicator, const fs::path& resume) {
  if (resume.empty()) return {};
  return comm::on_rank_0(communicator, [&] {
    if (!fs::exists(resume / kManifest)) return resume.string();
    const fs::path run = run_of(resume);
    if (!fs::is_directory(run / "checkpoints"))
      throw UsageError(
          fmt::format("--resume: {} is not in a run directory; say with --results where to go on", resume.string()));
    return run.string();
  });
}

void refuse_inside_run(const fs::path& output, std::string_view option) {
  for (fs::path folder = fs::weakly_canonical(output); folder.has_relative_path(); folder = folder.parent_path()) {
    if (!belongs_to_run(folder)) continue;
    throw UsageError(fmt::format("{}: {} lies in {}, which belongs to the run {}; take another place", option,
                                 output.string(), folder.string(), folder.parent_path().string()));
  }
}

RunClaim claim_run(comm::Communicator& communicator, const ClaimRequest& request) {
  RunClaim claim;
  comm::on_rank_0(communicator, [&] {
    if (request.results.empty()) return std::string();
    if (continues(request.resume, request.results)) find_checkpoint(request.resume);  // before a folder is made
    refuse_inside_run(request.results, request.option);
    claim.folders = require_writable_folder(request.results, request.option);
    claim.lock = std::make_unique<FolderLock>(request.results, request.option);
    if (!claim.lock->supported())
      spdlog::warn("{}: the file system of {} has no locks: nothing would stop a run of another host there",
                   request.option, request.results.string());
    require_no_earlier_run(request);
    return std::string();
  });
  return claim;
}

void remove_earlier_run(const fs::path& results) {
  std::error_code error;
  const auto remove = [&](const char* name) {
    if (!error) fs::remove_all(results / name, error);
  };
  std::ranges::for_each(kOfARun, remove);
  std::ranges::for_each(kOfARunToo, remove);
  std::vector<fs::path> aside;
  for (const auto& entry : fs::directory_iterator(results, error))
    if (is_set_aside(entry.path())) aside.push_back(entry.path());
  for (const fs::path& file : aside)
    if (!error) fs::remove(file, error);
  if (error) throw WriteError(results.string(), error.message());
}

}  // namespace lshdp::train
