// Telling files apart by keys and first bytes.
#include "lshdp/core/file_kind.h"

#include <array>

#include <fmt/format.h>

namespace lshdp {
namespace {

/// The first entry of the list "ranks", or null.
const Json& first_rank(const Json& json) {
  static const Json none;
  const auto ranks = json.find("ranks");
  return ranks != json.end() && ranks->is_array() && !ranks->empty() ? ranks->front() : none;
}

struct Magic {
  std::string_view bytes, name;
};

constexpr std::array<Magic, 6> kMagics{{{"\x89HDF\r\n\x1a\n", "an HDF5 file (a data set of lshdp data?)"},
                                        {"\x1f\x8b", "a gzip file"},
                                        {"PK\x03\x04", "a zip file (weights of torch.save?)"},
                                        {"\x89PNG", "a PNG picture"},
                                        {"\xff\xd8\xff", "a JPEG picture"},
                                        {"\x93NUMPY", "a NumPy file"}}};

/// The length of its header in 8 bytes, then the header, which is JSON.
bool is_safetensors(std::string_view content) {
  return content.size() > 9 && content[8] == '{' && content.substr(4, 4) == std::string_view("\0\0\0\0", 4);
}

}  // namespace

std::string kind_of_json(const Json& json) {
  if (!json.is_object()) return "";
  const auto has = [&](const char* key) { return json.contains(key); };
  if (has("record")) return "a record of metrics.jsonl";
  if (has("network") && has("ranks")) return "a profile";
  if (first_rank(json).contains("limited_by")) return "a result of lshdp max-batch";
  if (first_rank(json).contains("measured")) return "a result of lshdp memory";
  if (has("batches") || first_rank(json).contains("micro_batches")) return "a plan";
  if (has("weight_map")) return "a list of weight files";
  if (has("type") || has("model_type")) return "a model's description";
  if (has("step") && has("files")) return "a checkpoint's manifest";
  return "";
}

std::string kind_of_bytes(std::string_view content) {
  for (const Magic& magic : kMagics) {
    if (content.starts_with(magic.bytes)) return std::string(magic.name);
  }
  if (is_safetensors(content)) return "a safetensors file (weights)";
  if (content.starts_with("\xff\xfe") || content.starts_with("\xfe\xff")) return "UTF-16 text; save it as UTF-8";
  return content.find('\0') != std::string_view::npos ? "a binary file" : "";
}

void refuse_other_kind(const Json& json, std::string_view wanted, const std::string& source) {
  const std::string kind = kind_of_json(json);
  if (!kind.empty() && kind != wanted) throw UsageError(fmt::format("{}: this is {}, not {}", source, kind, wanted));
}

}  // namespace lshdp
