// Checkpoints in HDF5: /BLOCK/PARAMETER/{value, first_moment, second_moment}, each a run of elements with its first
// index.
#include "lshdp/train/checkpoint.h"

#include <algorithm>
#include <map>
#include <vector>

#include <H5Cpp.h>
#include <fmt/format.h>

#include "lshdp/comm/agree.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/parallel/precision.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;
using parallel::StatePiece;

constexpr int kVersion = 1;
constexpr const char* kManifest = "manifest.json";

std::string file_name(int rank) { return fmt::format("rank-{}.h5", rank); }
std::string group_name(std::size_t block, std::size_t parameter) { return fmt::format("/{}.{}", block, parameter); }

const H5::PredType& stored_type(at::ScalarType type) {
  return type == at::kDouble ? H5::PredType::NATIVE_DOUBLE : H5::PredType::NATIVE_FLOAT;
}

void write_tensor(const H5::Group& group, const char* name, const at::Tensor& tensor) {
  const hsize_t count = static_cast<hsize_t>(tensor.numel());
  const H5::PredType& type = stored_type(tensor.scalar_type());
  group.createDataSet(name, type, H5::DataSpace(1, &count)).write(tensor.contiguous().data_ptr(), type);
}

void write_pieces(const fs::path& path, const std::vector<StatePiece>& pieces) {
  H5::H5File file(path.string(), H5F_ACC_TRUNC);
  for (const StatePiece& piece : pieces) {
    const H5::Group group = file.createGroup(group_name(piece.block, piece.parameter));
    group.createAttribute("begin", H5::PredType::NATIVE_INT64, H5::DataSpace(H5S_SCALAR))
        .write(H5::PredType::NATIVE_INT64, &piece.begin);
    write_tensor(group, "value", piece.value);
    write_tensor(group, "first_moment", piece.first_moment);
    write_tensor(group, "second_moment", piece.second_moment);
  }
  // HDF5 reports a full disk when it flushes; the destructor's close would swallow it.
  file.flush(H5F_SCOPE_GLOBAL);
  file.close();
}

void write_rank_file(const fs::path& path, const std::vector<StatePiece>& pieces) {
  const fs::path temporary = path.string() + ".tmp";
  try {
    H5::Exception::dontPrint();
    write_pieces(temporary, pieces);
  } catch (const H5::Exception& error) {
    std::error_code ignored;
    fs::remove(temporary, ignored);
    throw WriteError(path.string(), error.getDetailMsg());
  }
  commit_file(temporary, path);
}

/// The step of a complete checkpoint's folder, -1 of anything else.
std::int64_t step_of(const fs::path& folder) {
  const std::string name = folder.filename().string();
  if (!name.starts_with("step-") || !fs::exists(folder / kManifest)) return -1;
  const std::string digits = name.substr(5);
  if (digits.empty() || digits.size() > 18 || digits.find_first_not_of("0123456789") != std::string::npos) return -1;
  return std::stoll(digits);
}

/// Complete checkpoints of a run by step.
std::map<std::int64_t, fs::path> complete_checkpoints(const fs::path& run) {
  std::map<std::int64_t, fs::path> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(run / "checkpoints", error)) {
    if (const std::int64_t step = step_of(entry.path()); step >= 0) found.emplace(step, entry.path());
  }
  return found;
}

void remove_old(const fs::path& run, int keep) {
  std::map<std::int64_t, fs::path> found = complete_checkpoints(run);
  for (; found.size() > static_cast<std::size_t>(std::max(keep, 1)); found.erase(found.begin())) {
    // The manifest goes first: half a checkpoint must not look like a whole one.
    std::error_code ignored;
    fs::remove(found.begin()->second / kManifest, ignored);
    fs::remove_all(found.begin()->second, ignored);
  }
}

/// Only fp16 has a loss scale; without it, such a run would not go on as if it had never stopped.
bool scales_loss(const std::string& precision) { return precision == parallel::to_text(parallel::Precision::fp16); }

Json manifest_json(const CheckpointInfo& info, const parallel::LossScale& scale, int ranks) {
  Json files = Json::array();
  for (int rank = 0; rank < ranks; ++rank) files.push_back(file_name(rank));
  Json json{{"version", kVersion},         {"step", info.step},   {"total", info.total}, {"seed", info.seed},
            {"precision", info.precision}, {"model", info.model}, {"files", files}};
  if (scales_loss(info.precision)) {
    json["loss_scale"] = {
        {"scale", scale.scale}, {"good_steps", scale.good_steps}, {"skipped_steps", scale.skipped_steps}};
  }
  return json;
}

/// Sets the loss scale that the manifest tells of.
void read_loss_scale(const fs::path& checkpoint, parallel::ParameterStore& store) {
  const std::string source = (checkpoint / kManifest).string();
  const Json manifest = read_json(source);
  if (!scales_loss(json_value<std::string>(manifest, "precision", source))) return;
  const Json json = json_value<Json>(manifest, "loss_scale", source);
  const std::string inner = source + ": loss_scale";
  try {
    store.set_loss_scale({.scale = json_value<double>(json, "scale", inner),
                          .good_steps = json_value<std::int64_t>(json, "good_steps", inner),
                          .skipped_steps = json_value<std::int64_t>(json, "skipped_steps", inner)});
  } catch (const std::invalid_argument& error) {
    throw UsageError(fmt::format("{}: {}", inner, error.what()));
  }
}

std::vector<std::string> files_of(const fs::path& checkpoint) {
  const Json manifest = read_json(checkpoint / kManifest);
  return json_value<std::vector<std::string>>(manifest, "files", (checkpoint / kManifest).string());
}

/// A run of one parameter's elements in a rank's file.
struct StoredRun {
  H5::Group group;
  std::int64_t begin = 0, count = 0;
};

/// All runs of all files, by block and parameter.
class Reader {
 public:
  explicit Reader(const fs::path& checkpoint) {
    H5::Exception::dontPrint();
    for (const std::string& name : files_of(checkpoint))
      files_.emplace_back((checkpoint / name).string(), H5F_ACC_RDONLY);
  }
  const std::vector<StoredRun>& runs(std::size_t block, std::size_t parameter) {
    const std::string name = group_name(block, parameter);
    auto [found, fresh] = runs_.try_emplace(name);
    if (fresh) {
      for (const H5::H5File& file : files_) {
        if (file.nameExists(name)) found->second.push_back(open_run(file.openGroup(name)));
      }
    }
    return found->second;
  }

 private:
  static StoredRun open_run(const H5::Group& group) {
    StoredRun run{group};
    group.openAttribute("begin").read(H5::PredType::NATIVE_INT64, &run.begin);
    run.count = group.openDataSet("value").getSpace().getSimpleExtentNpoints();
    return run;
  }
  std::vector<H5::H5File> files_;
  std::map<std::string, std::vector<StoredRun>> runs_;
};

void read_part(const StoredRun& run, const char* name, std::int64_t begin, const at::Tensor& into) {
  const H5::DataSet set = run.group.openDataSet(name);
  const H5::DataSpace space = set.getSpace();
  const hsize_t count = static_cast<hsize_t>(into.numel()), offset = static_cast<hsize_t>(begin - run.begin);
  space.selectHyperslab(H5S_SELECT_SET, &count, &offset);
  at::Tensor values = at::empty({into.numel()}, into.scalar_type());
  set.read(values.data_ptr(), stored_type(into.scalar_type()), H5::DataSpace(1, &count), space);
  into.copy_(values);
}

/// Fills a piece from whichever runs hold its elements.
void read_piece(Reader& reader, const StatePiece& piece, const std::string& name) {
  const std::int64_t end = piece.begin + piece.value.numel();
  std::int64_t filled = 0;
  for (const StoredRun& run : reader.runs(piece.block, piece.parameter)) {
    const std::int64_t from = std::max(piece.begin, run.begin), to = std::min(end, run.begin + run.count);
    if (from >= to) continue;
    const auto part = [&](const at::Tensor& tensor) { return tensor.narrow(0, from - piece.begin, to - from); };
    read_part(run, "value", from, part(piece.value));
    read_part(run, "first_moment", from, part(piece.first_moment));
    read_part(run, "second_moment", from, part(piece.second_moment));
    filled += to - from;
  }
  if (filled != piece.value.numel()) throw UsageError(fmt::format("elements of {} are missing", name));
}

void read_owned_state(const fs::path& checkpoint, const model::Model& model, parallel::ParameterStore& store) {
  try {
    Reader reader(checkpoint);
    for (const StatePiece& piece : store.owned_state()) {
      read_piece(reader, piece, model.blocks[piece.block]->parameters()[piece.parameter].name);
    }
  } catch (const H5::Exception& error) {
    throw UsageError(fmt::format("{}: damaged checkpoint: {}", checkpoint.string(), error.getDetailMsg()));
  } catch (const UsageError& error) {
    throw UsageError(fmt::format("{}: {}", checkpoint.string(), error.what()));
  }
}

}  // namespace

void write_checkpoint(comm::Communicator& communicator, const fs::path& run, parallel::ParameterStore& store,
                      const CheckpointInfo& info, int keep) {
  const fs::path folder = run / "checkpoints" / fmt::format("step-{}", info.step);
  comm::on_rank_0(communicator, [&] {
    std::error_code error;
    fs::remove(folder / kManifest, error);  // of an earlier run that came this far
    fs::create_directories(folder, error);
    if (error) throw WriteError(folder.string(), error.message());
    return std::string();
  });
  comm::agree(communicator, [&] { write_rank_file(folder / file_name(communicator.rank()), store.owned_state()); });
  comm::on_rank_0(communicator, [&] {
    write_json(folder / kManifest, manifest_json(info, store.loss_scale(), communicator.size()));
    remove_old(run, keep);
    return std::string();
  });
}

fs::path find_checkpoint(const fs::path& path) {
  if (fs::exists(path / kManifest)) return path;
  const std::map<std::int64_t, fs::path> found = complete_checkpoints(path);
  if (found.empty()) throw UsageError(fmt::format("--resume: no complete checkpoint in {}", path.string()));
  return found.rbegin()->second;
}

CheckpointInfo read_checkpoint_info(const fs::path& checkpoint) {
  const std::string source = (checkpoint / kManifest).string();
  const Json manifest = read_json(source);
  require_version(manifest, kVersion, source);
  for (const std::string& name : files_of(checkpoint)) {
    if (!fs::exists(checkpoint / name)) {
      throw UsageError(
          fmt::format("{}: {} is missing; every rank must see the folder it was written to", source, name));
    }
  }
  return {json_value<std::int64_t>(manifest, "step", source), json_value<std::int64_t>(manifest, "total", source),
          json_value<std::uint64_t>(manifest, "seed", source), json_value<std::string>(manifest, "precision", source),
          json_value<Json>(manifest, "model", source)};
}

void load_checkpoint(comm::Communicator& communicator, const fs::path& checkpoint, const model::Model& model,
                     parallel::ParameterStore& store) {
  comm::agree(communicator, [&] {
    read_owned_state(checkpoint, model, store);
    read_loss_scale(checkpoint, store);
  });
  store.publish();
}

}  // namespace lshdp::train
