// Checkpoints in HDF5: /PARAMETER/{value, first_moment, second_moment}, each a run of elements with its first index.
#include "checkpoint.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <vector>

#include <ATen/ATen.h>
#include <H5Cpp.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "checkpoint_manifest.h"
#include "lshdp/comm/agree.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/core/log.h"
#include "lshdp/data/hdf5_input.h"
#include "lshdp/data/hdf5_output.h"
#include "lshdp/parallel/precision.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;
using parallel::StatePiece;

std::string file_name(int rank) { return fmt::format("rank-{}.h5", rank); }

/// A parameter's name as HDF5 takes it: its own slashes would be groups.
std::string group_name(const std::string& parameter) {
  std::string name = "/";
  for (const char c : parameter) name += c == '/' ? "%2F" : c == '%' ? "%25" : std::string(1, c);
  return name;
}

const H5::PredType& stored_type(at::ScalarType type) {
  return type == at::kDouble ? H5::PredType::NATIVE_DOUBLE : H5::PredType::NATIVE_FLOAT;
}

void write_tensor(data::Hdf5Output& output, const std::string& name, const at::Tensor& tensor) {
  const at::Tensor host = tensor.to(at::kCPU).contiguous();  // HDF5 reads host memory only
  const H5::PredType& type = stored_type(host.scalar_type());
  output.create(name, type, {static_cast<hsize_t>(host.numel())}, {}).write(host.const_data_ptr(), type);
}

void write_piece(data::Hdf5Output& output, const StatePiece& piece) {
  const std::string name = group_name(piece.name);
  output.create_group(name)
      .createAttribute("begin", H5::PredType::NATIVE_INT64, H5::DataSpace(H5S_SCALAR))
      .write(H5::PredType::NATIVE_INT64, &piece.begin);
  write_tensor(output, name + "/value", piece.value);
  write_tensor(output, name + "/first_moment", piece.first_moment);
  write_tensor(output, name + "/second_moment", piece.second_moment);
}

void write_rank_file(const fs::path& path, std::int64_t step, const std::vector<StatePiece>& pieces) {
  data::Hdf5Output output(path);
  output.guarded([&] {
    output.describe("step", step);
    for (const StatePiece& piece : pieces) write_piece(output, piece);
  });
  output.commit();
}

/// Writes this rank's file; returns what every rank's file must be from now on.
std::vector<StoredFile> write_rank_files(comm::Communicator& communicator, const fs::path& folder, std::int64_t step,
                                         const std::vector<StatePiece>& pieces) {
  Json mine;
  comm::agree(communicator, [&] {
    const fs::path path = folder / file_name(communicator.rank());
    write_rank_file(path, step, pieces);
    const StoredFile file = describe_file(path);
    mine = {{"bytes", file.bytes}, {"checksum", file.checksum}};
  });
  std::vector<StoredFile> files;
  for (const std::string& text : comm::all_gather_text(communicator, json_text(mine))) {
    const Json file = text.empty() ? mine : Json::parse(text);
    files.push_back({file_name(static_cast<int>(files.size())), file["bytes"], file["checksum"]});
  }
  return files;
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

void require_step(const H5::H5File& file, const fs::path& path, std::int64_t expected) {
  std::int64_t step = -1;
  if (file.attrExists("step")) file.openAttribute("step").read(H5::PredType::NATIVE_INT64, &step);
  if (step == expected) return;
  throw UsageError(step < 0
                       ? fmt::format("{} does not say of which step it is", path.string())
                       : fmt::format("{} is of step {}, its checkpoint of step {}", path.string(), step, expected));
}

/// A run of one parameter's elements in a rank's file.
struct StoredRun {
  H5::Group group;
  std::int64_t begin = 0, count = 0;
};

StoredRun open_run(const H5::Group& group) {
  StoredRun run{group};
  group.openAttribute("begin").read(H5::PredType::NATIVE_INT64, &run.begin);
  run.count = group.openDataSet("value").getSpace().getSimpleExtentNpoints();
  return run;
}

void read_part(const StoredRun& run, const char* name, std::int64_t begin, const at::Tensor& into) {
  const H5::DataSet set = run.group.openDataSet(name);
  const H5::DataSpace space = set.getSpace();
  const hsize_t count = static_cast<hsize_t>(into.numel()), offset = static_cast<hsize_t>(begin - run.begin);
  space.selectHyperslab(H5S_SELECT_SET, &count, &offset);
  at::Tensor values = at::empty({into.numel()}, into.scalar_type());
  set.read(values.data_ptr(), stored_type(into.scalar_type()), H5::DataSpace(1, &count), space);
  into.copy_(values);
}

/// Reads the elements of `piece` that a run holds; returns how many. Moments are read where the piece has them.
std::int64_t read_from_run(const StoredRun& run, const StatePiece& piece) {
  const std::int64_t end = piece.begin + piece.value.numel();
  const std::int64_t from = std::max(piece.begin, run.begin), to = std::min(end, run.begin + run.count);
  if (from >= to) return 0;
  const auto part = [&](const at::Tensor& tensor) { return tensor.narrow(0, from - piece.begin, to - from); };
  read_part(run, "value", from, part(piece.value));
  if (piece.first_moment.defined()) read_part(run, "first_moment", from, part(piece.first_moment));
  if (piece.second_moment.defined()) read_part(run, "second_moment", from, part(piece.second_moment));
  return to - from;
}

/// Fills the pieces from whichever files hold their elements, one file open at a time.
void read_pieces(const fs::path& checkpoint, const Manifest& manifest, const std::vector<StatePiece>& pieces) {
  std::vector<std::int64_t> filled(pieces.size());
  for (const StoredFile& stored : manifest.files) {
    const fs::path path = checkpoint / stored.name;
    const H5::H5File file = data::open_hdf5(path);
    data::reading_hdf5(path, [&] {
      require_step(file, path, manifest.info.step);
      for (std::size_t i = 0; i < pieces.size(); ++i) {
        const std::string name = group_name(pieces[i].name);
        if (file.nameExists(name)) filled[i] += read_from_run(open_run(file.openGroup(name)), pieces[i]);
      }
    });
  }
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (filled[i] == pieces[i].value.numel()) continue;
    throw UsageError(fmt::format("{}: elements of {} are missing", checkpoint.string(), pieces[i].name));
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

fs::path folder_of(const fs::path& run, std::int64_t step) {
  return run / "checkpoints" / fmt::format("step-{}", step);
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
    candidates.push_back(folder_of(run, step.get<std::int64_t>()));
  return candidates;
}

}  // namespace

void write_checkpoint(comm::Communicator& communicator, const fs::path& run, parallel::StateAccess& store,
                      const CheckpointInfo& info, int keep) {
  const fs::path folder = folder_of(run, info.step);
  comm::on_rank_0(communicator, [&] {
    std::error_code error;
    fs::remove(folder / kManifest, error);  // of an earlier run that came this far
    fs::create_directories(folder, error);
    if (error) throw WriteError(folder.string(), error.message());
    return std::string();
  });
  const std::vector<StoredFile> files = write_rank_files(communicator, folder, info.step, store.owned_state());
  comm::on_rank_0(communicator, [&] {
    write_json(folder / kManifest, to_json({.info = info, .files = files, .loss_scale = store.loss_scale()}));
    remove_old(run, folder, keep);
    return std::string();
  });
}

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
