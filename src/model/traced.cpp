// Blocks that PyTorch traced, from a description that holds their programs.
#include "lshdp/model/traced.h"

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "architectures.h"
#include "layers.h"
#include "lshdp/core/file_kind.h"
#include "lshdp/core/input_file.h"
#include "lshdp/model/safetensors.h"
#include "packed_text.h"
#include "traced_program.h"

namespace lshdp::model {
namespace {

namespace fs = std::filesystem;

constexpr int kVersion = 1;
constexpr std::size_t kLargestProgram = std::size_t{1} << 28;  // bytes
constexpr const char* kMetadataKey = "lshdp_model";
constexpr std::array kTypes{std::pair("float32", at::kFloat), std::pair("float64", at::kDouble),
                            std::pair("bfloat16", at::kBFloat16), std::pair("float16", at::kHalf)};

class TracedBlock final : public ListedBlock {
 public:
  /// `input`: the shape of one sample.
  TracedBlock(std::string name, std::vector<Parameter> parameters, std::vector<std::string> borrowed,
              std::vector<std::int64_t> input, std::shared_ptr<const TracedProgram> program)
      : ListedBlock(std::move(name), std::move(parameters), std::move(borrowed)),
        input_(std::move(input)),
        program_(std::move(program)) {}

 private:
  at::Tensor run(const at::Tensor& input, const Tensors& p) const override {
    std::vector<at::Tensor> given;
    for (std::size_t i = 0; i < parameters().size() + borrowed().size(); ++i) given.push_back(p[i]);
    return program_->run(shaped(input), given, given.front().options());
  }

  /// Data of values without a shape of their own take that of the example.
  at::Tensor shaped(const at::Tensor& input) const {
    if (input.sizes().slice(1) == at::IntArrayRef(input_)) return input;
    std::vector<std::int64_t> shape{input.size(0)};
    shape.insert(shape.end(), input_.begin(), input_.end());
    return input.reshape(shape);
  }

  std::vector<std::int64_t> input_;
  std::shared_ptr<const TracedProgram> program_;
};

/// Reads the blocks of a description one after the other.
class BlockReader {
 public:
  BlockReader(const std::vector<std::string>& programs, std::string source)
      : packed_(programs), source_(std::move(source)) {}

  std::unique_ptr<Block> read(const Json& block);

 private:
  std::vector<Parameter> read_parameters(const Json& block, const std::string& where);
  std::vector<std::string> read_borrowed(const Json& block, const std::string& where) const;
  std::shared_ptr<const TracedProgram> program(std::size_t number, std::size_t inputs, const std::string& where);

  const std::vector<std::string>& packed_;
  std::string source_;
  std::set<std::string> names_;  // of parameters so far
  std::map<std::pair<std::size_t, std::size_t>, std::shared_ptr<const TracedProgram>> programs_;
};

std::vector<std::int64_t> read_shape(const Json& object, const char* key, const std::string& where) {
  const auto shape = json_value<std::vector<std::int64_t>>(object, key, where);
  std::int64_t count = 1;
  for (const std::int64_t size : shape) {
    if (size < 1 || size > kLargestSize || (count *= size) > kLargestSize * kLargestSize)
      throw_wrong_key(where, key, "is no shape that a tensor can have");
  }
  return shape;
}

std::vector<Parameter> BlockReader::read_parameters(const Json& block, const std::string& where) {
  std::vector<Parameter> parameters;
  for (const Json& entry : json_value<std::vector<Json>>(block, "parameters", where)) {
    const auto name = json_value<std::string>(entry, "name", where + ": parameters");
    if (!names_.insert(name).second) throw_wrong_key(where, "parameters", fmt::format("has {} a second time", name));
    // Drawn for measuring alone: training begins with the exported values.
    parameters.push_back(parameter(name, read_shape(entry, "shape", fmt::format("{}: {}", where, name)), normal(0.02)));
  }
  if (parameters.empty()) throw_wrong_key(where, "parameters", "is empty: a block has a parameter of its own");
  return parameters;
}

std::vector<std::string> BlockReader::read_borrowed(const Json& block, const std::string& where) const {
  auto borrowed = json_value<std::vector<std::string>>(block, "borrowed", where);
  for (const std::string& name : borrowed)
    if (!names_.contains(name)) throw_wrong_key(where, "borrowed", fmt::format("has {} of no earlier block", name));
  return borrowed;
}

std::shared_ptr<const TracedProgram> BlockReader::program(std::size_t number, std::size_t inputs,
                                                          const std::string& where) {
  if (number >= packed_.size()) throw_wrong_key(where, "program", "is the number of none");
  std::shared_ptr<const TracedProgram>& found = programs_[{number, inputs}];
  const std::string source = fmt::format("{}: programs[{}]", source_, number);
  if (!found)
    found = std::make_shared<TracedProgram>(unpacked(packed_[number], kLargestProgram, source), inputs, source);
  return found;
}

std::unique_ptr<Block> BlockReader::read(const Json& block) {
  const auto name = json_value<std::string>(block, "name", source_ + ": blocks");
  const std::string where = fmt::format("{}: block {}", source_, name);
  std::vector<std::string> borrowed = read_borrowed(block, where);
  std::vector<Parameter> parameters = read_parameters(block, where);
  const auto number = json_value<std::size_t>(block, "program", where);
  auto found = program(number, 1 + parameters.size() + borrowed.size(), where);
  return std::make_unique<TracedBlock>(name, std::move(parameters), std::move(borrowed),
                                       read_shape(block, "input", where), std::move(found));
}

InputSpec read_input(Description input) {
  InputSpec spec;
  const std::string kind = input.text("kind");
  if (kind == "tokens") {
    spec.kind = InputSpec::Kind::tokens;
    spec.context = spec.positions = input.size("context");
    spec.vocabulary = input.size("vocabulary");
    spec.other_lengths = false;
  } else if (kind == "image" || kind == "flat") {
    spec.kind = kind == "image" ? InputSpec::Kind::image : InputSpec::Kind::flat;
    if (kind == "image") spec.channels = input.size("channels");
    if (kind == "image") spec.image_size = input.size("image_size", kLargestImage);
    if (kind == "flat") spec.input_size = input.size("input_size");
    spec.classes = input.size("classes");
  } else {
    throw_wrong_key(input.source(), "kind", R"(must be "image", "flat" or "tokens")");
  }
  input.refuse_unknown_keys();
  return spec;
}

std::vector<std::string> type_names(const Json& description, const std::string& source) {
  return json_value<std::vector<std::string>>(description, "types", source);
}

/// Sequences of another length were not traced.
void require_context(const Json& description, const InputSpec& input, const std::string& source) {
  if (!description.contains("context")) return;
  const auto context = json_value<std::int64_t>(description, "context", source);
  if (context != input.context)
    throw UsageError(
        fmt::format("--context: {} was exported from PyTorch for sequences of {} tokens, not {}; export it "
                    "again with an example of that length",
                    source, input.context, context));
}

bool is_safetensors(const fs::path& path) {
  std::error_code none;
  if (!fs::is_regular_file(path, none)) return false;
  std::string head(kHeadBytes, '\0');
  head.resize(InputFile(path).read(std::as_writable_bytes(std::span(head))));
  return format_of(head).id == FileFormat::Id::safetensors;
}

}  // namespace

Model make_traced(const Json& object, const std::string& name, const std::string& source) {
  require_version(object, kVersion, source);
  Model model;
  model.name = name;
  model.description = object;
  Description description(object, source);
  model.input = read_input(description.inside("input"));
  require_context(object, model.input, source);
  model.description.erase("context");
  type_names(object, source);
  for (const char* key : {"type", "version", "types", "programs", "blocks", "context"}) description.ignore(key);
  description.refuse_unknown_keys();
  const auto programs = json_value<std::vector<std::string>>(object, "programs", source);
  BlockReader reader(programs, source);
  for (const Json& block : json_value<std::vector<Json>>(object, "blocks", source))
    model.blocks.push_back(reader.read(block));
  if (model.blocks.empty()) throw_wrong_key(source, "blocks", "is empty");
  return model;
}

bool is_traced(const Model& model) { return model.description.value("type", "") == kTracedType; }

std::optional<nlohmann::json> exported_description(const fs::path& path) {
  if (!is_safetensors(path)) return std::nullopt;
  const auto metadata = read_safetensors_metadata(path);
  const auto found = metadata.find(kMetadataKey);
  if (found == metadata.end()) return std::nullopt;
  return parse_json(found->second, path.string() + ": " + kMetadataKey);
}

void require_type(const Model& model, at::ScalarType type, std::string_view option) {
  if (!is_traced(model)) return;
  const std::vector<std::string> names = type_names(model.description, model.name);
  const char* const wanted = std::ranges::find(kTypes, type, [](const auto& entry) { return entry.second; })->first;
  if (std::ranges::find(names, wanted) != names.end()) return;
  throw UsageError(
      fmt::format("{}: {} computes in {} as PyTorch does, but not in {}: that was tried when it was exported", option,
                  model.name, fmt::join(names, ", "), wanted));
}

}  // namespace lshdp::model
