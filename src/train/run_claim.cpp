// Looks at a run directory before anything is written into it.
#include "lshdp/train/run_claim.h"

#include <algorithm>

#include <fmt/format.h>

#include "checkpoint_manifest.h"
#include "lshdp/comm/agree.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/log.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;

/// What only a run that has begun leaves behind, and what is made of that.
constexpr const char* kOfARun[] = {"run.json",     "metrics.jsonl",     "checkpoints",
                                   "summary.json", "model.safetensors", "best"};
constexpr const char* kOfARunToo[] = {"trace.json", "report.png"};

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

void require_no_earlier_run(const ClaimRequest& request) {
  if (request.overwrite || continues(request.resume, request.results) || !holds_run(request.results)) return;
  const std::string folder = request.results.string();
  const bool resumable = !checkpoints_of(request.results).empty();
  throw UsageError(
      fmt::format("--results: {} holds an earlier run; {}take another folder, or replace it with "
                  "--overwrite",
                  folder, resumable ? "continue it with --resume " + folder + ", " : ""));
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

std::unique_ptr<FolderLock> claim_run(comm::Communicator& communicator, const ClaimRequest& request) {
  std::unique_ptr<FolderLock> lock;
  comm::on_rank_0(communicator, [&] {
    if (request.results.empty()) return std::string();
    if (continues(request.resume, request.results)) find_checkpoint(request.resume);  // before a folder is made
    require_writable_folder(request.results, "--results");
    lock = std::make_unique<FolderLock>(request.results, "--results");
    if (!lock->supported())
      spdlog::warn("--results: the file system of {} has no locks: nothing would stop a run of another host there",
                   request.results.string());
    require_no_earlier_run(request);
    return std::string();
  });
  return lock;
}

void remove_earlier_run(const fs::path& results) {
  std::error_code error;
  const auto remove = [&](const char* name) {
    if (!error) fs::remove_all(results / name, error);
  };
  std::ranges::for_each(kOfARun, remove);
  std::ranges::for_each(kOfARunToo, remove);
  if (error) throw WriteError(results.string(), error.message());
}

}  // namespace lshdp::train
