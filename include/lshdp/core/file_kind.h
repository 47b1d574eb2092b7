// What a file is that was given for another: lshdp's own JSON files by their keys, other formats by their first bytes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "lshdp/core/json.h"

namespace lshdp {

/// A format that is known by its first bytes.
struct FileFormat {
  enum class Id : std::uint8_t {
    none,  // text, plain numbers, or a format that is not known
    zip,
    gzip,
    hdf5,
    numpy,
    megatron_index,
    safetensors,
    pickle,
    gguf,
    web_page,
    jpeg,
    png,
    webp,
    other
  };
  enum class Sort : std::uint8_t { none, packed, document, image, other };

  Id id = Id::none;
  Sort sort = Sort::none;
  std::string_view name = {};    // "a zip archive"
  std::string_view remedy = {};  // what helps whoever reads it: "unpack it first"; may be empty
  bool doubtful = false;         // text or plain numbers may begin so, too
};

/// Bytes that are enough for every format known here.
inline constexpr std::size_t kHeadBytes = 512;

/// The format of a file that begins with `head`.
FileFormat format_of(std::string_view head);

/// "UTF-16", "UTF-32" or "UTF-8" if `head` begins with its byte order mark; empty otherwise.
std::string_view byte_order_mark(std::string_view head);

/// "a profile", "a plan", "a layout", "a model's description", ..: what `json` is by its keys; empty if it is none that
/// is known.
std::string kind_of_json(const Json& json);

/// "an HDF5 file", "a safetensors file", ..: what `content` is by its bytes; empty if it may be JSON.
std::string kind_of_bytes(std::string_view content);

/// Throws UsageError "SOURCE: this is A PLAN, not WANTED" if `json` is known to be something else than `wanted`, a word
/// of kind_of_json.
void refuse_other_kind(const Json& json, std::string_view wanted, const std::string& source);

}  // namespace lshdp
