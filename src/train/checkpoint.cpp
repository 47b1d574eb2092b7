// Finding, judging and reading checkpoints.
#include "checkpoint.h"

#include <map>
#include <vector>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "checkpoint_manifest.h"
#include "lshdp/comm/agree.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/core/log.h"
#include "lshdp/parallel/precision.h"
#include "rank_file.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;
using parallel::StatePiece;

/// Fills the pieces from whichever files hold their elements, one file open at a time.
void read_pieces(const fs::path& checkpoint, const Manifest& manifest, const std::vector<StatePiece>& pieces) {
  std::vector<std::vector<ElementRun>> filled(pieces.size());
  for (const StoredFile& stored : manifest.files)
    read_rank_file(checkpoint / stored.name, manifest.info.step, pieces, filled);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const std::string gap = gap_in(filled[i], {pieces[i].begin, pieces[i].begin + pieces[i].value.numel()});
    if (!gap.empty()) throw UsageError(fmt::format("{}: {}: {}", checkpoint.string(), pieces[i].name, gap));
  }
}

/// Sets the loss scale that the manifest tells of.
void set_loss_scale(const fs::path& checkpoint, const Manifest& manifest, parallel::StateAccess& store) {
  if (!manifest.loss_scale) return;
  try {
    store.set_loss_scale(*manifest.loss_scale);
  } catch (const std::invalid_argument& error) {
    throw UsageError(fmt::format("{}: loss_scale: {}", (checkpoint / kManifest).string(), error.what()));
  }
}

/// What is wrong with a checkpoint, found by all ranks together: each reads its share of the files. Empty: nothing.
std::string damage_of(comm::Communicator& communicator, const fs::path& checkpoint) {
  std::string damage;
  comm::agree(communicator, [&] {
    try {
      const Manifest manifest = read_manifest(checkpoint);
      for (auto file = static_cast<std::size_t>(communicator.rank()); file < manifest.files.size();
           file += static_cast<std::size_t>(communicator.size()))
        require_intact(checkpoint, manifest, manifest.files[file]);
    } catch (const DamagedCheckpoint& error) {
      damage = error.what();
    }
  });
  for (const std::string& found : comm::all_gather_text(communicator, damage)) {
    if (!found.empty()) return found;
  }
  return "";
}

/// The same of one that is looked at because a newer one is damaged: what else keeps it from being read is no reason to
/// say less of the newer one.
std::string damage_or_error_of(comm::Communicator& communicator, const fs::path& checkpoint) {
  try {
    return damage_of(communicator, checkpoint);
  } catch (const AgreedError& error) {
    return error.what();
  }
}

/// `damages`: of the checkpoint that was asked for, or the newest, and of each before it.
[[noreturn]] void refuse_damaged(const fs::path& run, const std::vector<std::string>& damages, bool named) {
  const std::string all = fmt::format("{}", fmt::join(damages, "; "));
  if (damages.size() == 1) throw AgreedError(fmt::format("--resume: {}; there is no checkpoint before it", all), 2);
  throw AgreedError(fmt::format("--resume: none of the {} checkpoints {} {} can be used: {}", damages.size(),
                                named ? "up to this one in" : "in", run.string(), all),
                    2);
}

/// Checkpoints of a run before `before`, the newest first, by rank 0's word.
std::vector<fs::path> earlier_checkpoints(comm::Communicator& communicator, const fs::path& run, std::int64_t before) {
  const std::string text = comm::on_rank_0(communicator, [&] {
    Json steps = Json::array();
    for (const auto& [step, folder] : checkpoints_of(run)) {
      if (step < before) steps.insert(steps.begin(), step);
    }
    return json_text(steps);
  });
  std::vector<fs::path> candidates;
  for (const auto& step : Json::parse(text.empty() ? "[]" : text))
    candidates.push_back(checkpoint_folder(run, step.get<std::int64_t>()));
  return candidates;
}

}  // namespace

fs::path find_checkpoint(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error))
    throw UsageError(fmt::format("--resume: there is no folder {}{}", path.string(),
                                 error ? fmt::format(" ({})", error.message()) : ""));
  if (fs::exists(path / kManifest)) return path;
  const std::map<std::int64_t, fs::path> found = checkpoints_of(path);
  if (found.empty()) throw UsageError(fmt::format("--resume: no complete checkpoint in {}", path.string()));
  return found.rbegin()->second;
}

std::optional<fs::path> newest_checkpoint(const fs::path& path) {
  try {
    return find_checkpoint(path);
  } catch (const UsageError&) {
    return std::nullopt;
  }
}

fs::path find_good_checkpoint(comm::Communicator& communicator, const fs::path& path) {
  const std::string newest = comm::on_rank_0(communicator, [&] { return find_checkpoint(path).string(); });
  std::vector<std::string> damages{damage_of(communicator, newest)};
  if (damages.front().empty()) return newest;
  const bool named =
      comm::on_rank_0(communicator, [&] { return fs::exists(path / kManifest) ? "named" : ""; }) == "named";
  const fs::path run = named ? run_of(newest) : path;
  for (const fs::path& older : earlier_checkpoints(communicator, run, step_in_name(newest))) {
    std::string damage = damage_or_error_of(communicator, older);
    if (!damage.empty()) {
      damages.push_back(std::move(damage));
      continue;
    }
    if (named)
      throw AgreedError(
          fmt::format("--resume: {}; {} is the good one before it", fmt::join(damages, "; "), older.string()), 2);
    if (communicator.rank() == 0)
      spdlog::warn("{}; the checkpoint before {} is used", fmt::join(damages, "; "),
                   damages.size() == 1 ? "it" : "them");
    return older;
  }
  refuse_damaged(run, damages, named);
}

CheckpointInfo read_checkpoint_info(const fs::path& checkpoint) {
  const Manifest manifest = read_manifest(checkpoint);
  for (const StoredFile& file : manifest.files) {
    if (!fs::exists(checkpoint / file.name)) {
      throw DamagedCheckpoint(fmt::format("{} is missing; every rank must see the folder it was written to",
                                          (checkpoint / file.name).string()));
    }
  }
  return manifest.info;
}

void load_checkpoint(comm::Communicator& communicator, const fs::path& checkpoint, parallel::StateAccess& store) {
  comm::agree(communicator, [&] {
    const Manifest manifest = read_manifest(checkpoint);
    read_pieces(checkpoint, manifest, store.owned_state());
    set_loss_scale(checkpoint, manifest, store);
  });
  store.publish();
}

model::Values read_checkpoint_values(const fs::path& checkpoint, const model::Model& model) {
  const Manifest manifest = read_manifest(checkpoint);
  for (const StoredFile& file : manifest.files) require_intact(checkpoint, manifest, file);
  const at::ScalarType type = parallel::master_type(manifest.info.strategy.precision);
  model::Values values(model.blocks.size());
  std::vector<StatePiece> pieces;
  for (std::size_t block = 0; block < model.blocks.size(); ++block) {
    for (const model::Parameter& parameter : model.blocks[block]->parameters()) {
      values[block].push_back(at::empty(parameter.shape, type));
      pieces.push_back({block, values[block].size() - 1, parameter.name, 0, values[block].back().view({-1}), {}, {}});
    }
  }
  read_pieces(checkpoint, manifest, pieces);
  return values;
}

fs::path abandon_later_checkpoints(const fs::path& run, std::int64_t step) {
  std::vector<fs::path> later;
  for (const auto& [of, folder] : checkpoints_of(run)) {
    if (of > step) later.push_back(folder);
  }
  if (later.empty()) return {};
  fs::path target;
  for (int number = 1; target.empty() || fs::exists(target); ++number)
    target = run / "checkpoints" / fmt::format("abandoned-{}", number);
  std::error_code error;
  fs::create_directories(target, error);
  for (const fs::path& folder : later) {
    if (!error) fs::rename(folder, target / folder.filename(), error);
  }
  if (!error && fs::exists(run / "metrics.jsonl"))
    fs::copy_file(run / "metrics.jsonl", target / "metrics.jsonl", error);
  if (error) throw WriteError(target.string(), error.message());
  return target;
}

}  // namespace lshdp::train
