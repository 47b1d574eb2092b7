// The index of a model in shards, checked against what the shards hold.
#include "lshdp/model/shards.h"

#include <utility>

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/model/safetensors.h"

namespace lshdp::model {
namespace {

namespace fs = std::filesystem;

class Shards final : public TensorSource {
 public:
  explicit Shards(const fs::path& index) : where_(index.string()) {
    std::map<std::string, TensorSource*> shards;
    const auto said = shards_of_index(read_json(index), where_);
    for (const auto& [tensor, file] : said) {
      auto [found, fresh] = shards.try_emplace(file);
      if (fresh) found->second = open(index.parent_path() / file, file);
      if (!found->second->names().contains(tensor))
        throw UsageError(
            fmt::format("{}: tensor {} is not in {}; are these shards of another model?", where_, tensor, file));
    }
    for (const auto& shard : files_) take_names(*shard);
  }

  const std::string& where() const override { return where_; }
  const std::set<std::string>& names() const override { return names_; }
  at::Tensor read(const std::string& name) override { return shard_of_.at(name)->read(name); }

 private:
  TensorSource* open(const fs::path& path, const std::string& file) {
    std::error_code error;
    if (!fs::exists(path, error))
      throw UsageError(fmt::format(
          "{} is a list of shards, and {}, which it names, is not beside it; fetch all of them", where_, file));
    files_.push_back(open_safetensors(path));
    return files_.back().get();
  }

  /// Also of tensors that the index leaves out: they are part of the model, or do not belong to it.
  void take_names(TensorSource& shard) {
    for (const std::string& name : shard.names()) {
      if (!shard_of_.emplace(name, &shard).second)
        throw UsageError(
            fmt::format("{}: tensor {} is in {} and in {}", where_, name, shard_of_.at(name)->where(), shard.where()));
      names_.insert(name);
    }
  }

  std::string where_;
  std::vector<std::unique_ptr<TensorSource>> files_;
  std::map<std::string, TensorSource*> shard_of_;
  std::set<std::string> names_;
};

}  // namespace

bool is_shard_index(const nlohmann::json& object) { return object.is_object() && object.contains("weight_map"); }

std::map<std::string, std::string> shards_of_index(const nlohmann::json& index, const std::string& source) {
  const Json map = json_value<Json>(index, "weight_map", source);
  if (!map.is_object() || map.empty()) throw_wrong_key(source, "weight_map", "must name the file of each tensor");
  std::map<std::string, std::string> files;
  for (const auto& [tensor, value] : map.items()) {
    const auto file = json_value<std::string>(map, tensor, source);
    const fs::path path = file;
    if (file.empty() || path.filename() != path || file == "." || file == "..")
      throw_wrong_key(source, tensor, fmt::format("is in '{}', which is no file beside the index", file));
    if (path.extension() == ".bin" || path.extension() == ".pt")
      throw UsageError(
          fmt::format("{} is a list of files that PyTorch wrote ({}); save the model as safetensors: in "
                      "Python, model.save_pretrained(DIR, safe_serialization=True)",
                      source, file));
    files.emplace(tensor, file);
  }
  return files;
}

std::unique_ptr<TensorSource> open_shards(const fs::path& index) { return std::make_unique<Shards>(index); }

}  // namespace lshdp::model
