// The parts of a save, and what all ranks know of them.
#include "checkpoint_writer.h"

#include <algorithm>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

#include <H5public.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include "lshdp/comm/agree.h"
#include "lshdp/core/activity.h"
#include "lshdp/core/clock.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "rank_file.h"
#include "state_gate.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;
using parallel::StatePiece;

/// The thread that loads data uses HDF5, too.
void require_thread_safe_hdf5() {
  hbool_t safe = 0;
  if (H5is_library_threadsafe(&safe) >= 0 && safe != 0) return;
  throw RunError("this HDF5 library was built without thread safety, which checkpoints need: use another build of it");
}

std::function<std::shared_ptr<void>()> helping(const std::shared_ptr<ComputeDevice>& device) {
  if (!device) return {};
  return [device] { return device->help(); };
}

void remove_checkpoint(const fs::path& folder) {
  // The manifest goes first: half a checkpoint must not look like a whole one.
  std::error_code ignored;
  fs::remove(folder / kManifest, ignored);
  fs::remove_all(folder, ignored);
}

/// All but the newest `keep`, and what was never finished; `written` stays in any case.
void remove_old(const fs::path& run, const fs::path& written, int keep) {
  std::map<std::int64_t, fs::path> found = checkpoints_of(run);
  std::erase_if(found, [&](const auto& entry) { return entry.second == written; });
  for (; found.size() + 1 > static_cast<std::size_t>(std::max(keep, 1)); found.erase(found.begin()))
    remove_checkpoint(found.begin()->second);
  for (const fs::path& folder : unfinished_checkpoints_of(run)) remove_checkpoint(folder);
}

std::optional<std::pair<dev_t, ino_t>> number_of(const fs::path& folder) {
  struct stat status {};
  if (::stat(folder.c_str(), &status) != 0) return std::nullopt;
  return std::pair(status.st_dev, status.st_ino);
}

/// Each rank does so before its file is there: no manifest of an earlier run that came this far stays beside new files.
void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::remove(folder / kManifest, error);
  fs::create_directories(folder, error);
  if (error) throw WriteError(folder.string(), error.message());
}

/// In the order in which a step changes them, which begins at the model's end. With clipping it begins at its start:
/// then the gate lets those go first that are waited for.
std::vector<std::size_t> buckets_of(const std::vector<StatePiece>& pieces) {
  std::set<std::size_t, std::greater<>> buckets;
  for (const StatePiece& piece : pieces) buckets.insert(piece.bucket);
  return {buckets.begin(), buckets.end()};
}

}  // namespace

CheckpointWriter::CheckpointWriter(comm::Communicator& communicator, parallel::StateAccess& store,
                                   CheckpointFolder folder, std::int64_t step,
                                   const std::shared_ptr<ComputeDevice>& device)
    : communicator_(communicator),
      store_(store),
      folder_(std::move(folder)),
      run_folder_(number_of(folder_.run)),
      gate_(std::make_shared<StateGate>(step)),
      thread_(helping(device)) {
  require_thread_safe_hdf5();
  store_.observe_state(gate_);
}

CheckpointWriter::~CheckpointWriter() {
  store_.observe_state(nullptr);
  given_up_ = true;
  gate_->open();
}

void CheckpointWriter::begin(const CheckpointInfo& info) {
  if (save_) throw std::logic_error("a checkpoint begins before the one before it is complete");
  save_ = Save{.info = info,
               .folder = checkpoint_folder(folder_.run, info.step),
               .loss_scale = store_.loss_scale(),
               .progress_before = progress_,
               .begun = now_seconds(),
               .waited_before = gate_->waited_seconds()};
  finish_seconds_ = 0;
  std::vector<StatePiece> pieces = store_.owned_state();
  gate_->close(buckets_of(pieces), info.step);
  thread_.post([this, pieces = std::move(pieces), folder = save_->folder, step = info.step] {
    write_file(pieces, folder, step);
  });
}

void CheckpointWriter::require_same_folder() const {
  if (run_folder_ && number_of(folder_.run) != run_folder_)
    throw RunError(
        fmt::format("{} is no longer the folder that this run began in: it was moved, removed or replaced meanwhile; "
                    "the checkpoint is not written",
                    folder_.run.string()));
}

void CheckpointWriter::write_file(const std::vector<StatePiece>& pieces, const fs::path& folder, std::int64_t step) {
  const c10::NoGradGuard no_grad;
  const BackgroundActivity saving(Doing::saving, step);
  try {
    require_same_folder();
    make_folder(folder);
    const fs::path path = folder / rank_file_name(communicator_.rank());
    RankFileWriter file(path, step);
    while (const auto bucket = gate_->next()) {
      for (const StatePiece& piece : pieces) {
        if (piece.bucket == *bucket) file.write(piece);
      }
      gate_->written(*bucket);
    }
    if (given_up_) return;
    file.commit();
    file_ = describe_file(path);
  } catch (...) {
    error_ = std::current_exception();
    gate_->open();
  }
  ++progress_;
}

void CheckpointWriter::rethrow_error() {
  if (error_) std::rethrow_exception(error_);
}

/// The files of all ranks are there, or one of them failed. From here on rank 0 writes the manifest.
void CheckpointWriter::share_files() {
  comm::agree(communicator_, [this] { rethrow_error(); });
  const Json mine{{"bytes", file_.bytes}, {"checksum", file_.checksum}};
  Manifest manifest{.info = save_->info, .files = {}, .loss_scale = save_->loss_scale};
  for (const std::string& text : comm::all_gather_text(communicator_, json_text(mine))) {
    const Json file = text.empty() ? mine : Json::parse(text);
    manifest.files.push_back(
        {rank_file_name(static_cast<int>(manifest.files.size())), file["bytes"], file["checksum"]});
  }
  save_->files_known = true;
  if (communicator_.rank() == 0)
    thread_.post([this, manifest, folder = save_->folder] { write_manifest(manifest, folder); });
  else
    ++progress_;
}

void CheckpointWriter::write_manifest(const Manifest& manifest, const fs::path& folder) {
  try {
    require_same_folder();
    write_json(folder / kManifest, to_json(manifest));
    remove_old(folder_.run, folder, folder_.keep);
  } catch (...) {
    error_ = std::current_exception();
  }
  ++progress_;
}

WrittenCheckpoint CheckpointWriter::complete() {
  comm::agree(communicator_, [this] { rethrow_error(); });
  const WrittenCheckpoint written{.step = save_->info.step,
                                  .seconds = now_seconds() - save_->begun,
                                  .waited_seconds = gate_->waited_seconds() - save_->waited_before + finish_seconds_};
  save_.reset();
  return written;
}

std::optional<WrittenCheckpoint> CheckpointWriter::advance(std::int64_t least) {
  if (!save_) return std::nullopt;
  if (!save_->files_known && least > save_->progress_before) share_files();
  if (least < save_->progress_before + 2) return std::nullopt;
  return complete();
}

WrittenCheckpoint CheckpointWriter::finish() {
  if (!save_) throw std::logic_error("no checkpoint is under way");
  const double begun = now_seconds();
  thread_.drain();
  if (!save_->files_known) share_files();
  thread_.drain();
  finish_seconds_ = now_seconds() - begun;
  return complete();
}

void write_checkpoint(comm::Communicator& communicator, parallel::StateAccess& store, const CheckpointFolder& folder,
                      const CheckpointInfo& info) {
  CheckpointWriter writer(communicator, store, folder, info.step);
  writer.begin(info);
  static_cast<void>(writer.finish());
}

}  // namespace lshdp::train
