// Reading what describes a data set, with every way a file can be wrong told apart.
#include "hdf5_file.h"

#include <cmath>
#include <cstring>
#include <limits>

#include <fmt/format.h>

#include "image_output.h"
#include "lshdp/core/text.h"

namespace lshdp::data {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse(const fs::path& path, const std::string& problem) {
  throw UsageError(fmt::format("{}: {}", path.string(), problem));
}

std::vector<hsize_t> shape_of(const H5::DataSet& array) {
  const H5::DataSpace space = array.getSpace();
  std::vector<hsize_t> shape(static_cast<std::size_t>(space.getSimpleExtentNdims()));
  if (!shape.empty()) space.getSimpleExtentDims(shape.data());
  return shape;
}

/// The array `name`, checked to hold integers in `dimensions` dimensions, none of them empty.
H5::DataSet integer_array(const H5::H5File& file, const fs::path& path, const std::string& name,
                          std::size_t dimensions) {
  const H5::DataSet array = file.openDataSet(name);
  if (array.getTypeClass() != H5T_INTEGER) refuse(path, fmt::format("'{}' must hold integers", name));
  const std::vector<hsize_t> shape = shape_of(array);
  if (shape.size() != dimensions) {
    refuse(path, fmt::format("'{}' has {} dimensions; it must have {}", name, shape.size(), dimensions));
  }
  for (const hsize_t length : shape) {
    if (length == 0) refuse(path, fmt::format("'{}' is empty", name));
  }
  return array;
}

/// Parts that were never written take no room, so that a small file may claim any number of values, and whoever makes
/// room for them has none left. Compression leaves a thousandth at best.
void require_stored(const fs::path& path, const H5::DataSet& array, const std::string& name) {
  const H5::DSetCreatPropList properties = array.getCreatePlist();
  const H5D_layout_t layout = properties.getLayout();
  if (properties.getExternalCount() > 0 || layout == H5D_VIRTUAL)
    refuse(path, fmt::format("'{}' lies in another file; copy it into this", name));
  if (layout != H5D_CHUNKED && layout != H5D_CONTIGUOUS) return;
  constexpr double most = 4096;  // bytes of a stored one
  double bytes = static_cast<double>(array.getDataType().getSize());
  for (const hsize_t length : shape_of(array)) bytes *= static_cast<double>(length);
  const hsize_t stored = array.getStorageSize();
  if (bytes > most * static_cast<double>(stored))
    refuse(path,
           fmt::format("'{}' claims {:.3g} bytes, of which {} are stored; was it never written?", name, bytes, stored));
}

/// One dimension, as integer_array(), and stored.
H5::DataSet stored_integers(const H5::H5File& file, const fs::path& path, const std::string& name) {
  H5::DataSet array = integer_array(file, path, name, 1);
  require_stored(path, array, name);
  return array;
}

H5::Attribute attribute(const H5::H5File& file, const fs::path& path, const char* name, const char* meaning) {
  if (!file.attrExists(name)) refuse(path, fmt::format("has no attribute '{}' ({})", name, meaning));
  return file.openAttribute(name);
}

std::vector<double> read_numbers(const H5::H5File& file, const fs::path& path, const char* name, std::int64_t count) {
  const H5::Attribute values = attribute(file, path, name, "per channel, of pixels scaled to [0, 1]");
  const H5T_class_t type = values.getTypeClass();
  if ((type != H5T_FLOAT && type != H5T_INTEGER) || values.getSpace().getSimpleExtentNpoints() != count) {
    refuse(path, fmt::format("attribute '{}' must hold {} numbers, one per channel", name, count));
  }
  std::vector<double> result(static_cast<std::size_t>(count));
  values.read(H5::PredType::NATIVE_DOUBLE, result.data());
  return result;
}

std::vector<std::string> split_fixed(const std::vector<char>& text, std::size_t width) {
  std::vector<std::string> result;
  for (std::size_t at = 0; at < text.size(); at += width)
    result.emplace_back(text.data() + at, strnlen(text.data() + at, width));
  return result;
}

/// Text of fixed or variable length; empty if there is no such attribute.
std::vector<std::string> read_texts(const H5::H5File& file, const fs::path& path, const char* name) {
  if (!file.attrExists(name)) return {};
  const H5::Attribute values = file.openAttribute(name);
  if (values.getTypeClass() != H5T_STRING) refuse(path, fmt::format("attribute '{}' must hold text", name));
  const H5::DataSpace space = values.getSpace();
  const auto count = static_cast<std::size_t>(space.getSimpleExtentNpoints());
  const H5::StrType type = values.getStrType();
  if (count == 0) return {};
  if (!type.isVariableStr()) {
    std::vector<char> text(count * type.getSize());
    values.read(type, text.data());
    return split_fixed(text, type.getSize());
  }
  std::vector<char*> texts(count);
  values.read(type, texts.data());
  std::vector<std::string> result;
  for (const char* text : texts) result.emplace_back(text == nullptr ? "" : text);
  H5::DataSet::vlenReclaim(texts.data(), type, space);
  return result;
}

std::string read_text(const H5::H5File& file, const fs::path& path, const char* name) {
  const std::vector<std::string> texts = read_texts(file, path, name);
  return texts.empty() ? "" : texts.front();
}

void read_image_info(const H5::H5File& file, const fs::path& path, DatasetInfo& info) {
  const H5::DataSet images = integer_array(file, path, "images", 4);
  if (images.getIntType() != H5::PredType::NATIVE_UINT8)
    refuse(path, "'images' must hold bytes (uint8, N x C x H x W)");
  const std::vector<hsize_t> shape = shape_of(images);
  info.count = static_cast<std::int64_t>(shape[0]);
  info.channels = static_cast<std::int64_t>(shape[1]);
  info.height = static_cast<std::int64_t>(shape[2]);
  info.width = static_cast<std::int64_t>(shape[3]);
  constexpr hsize_t most = hsize_t{1} << 40;  // far more than an image; products stay below 2^63
  if (shape[1] > most || shape[2] > most / shape[1] || shape[3] > most / shape[1] / shape[2])
    refuse(path, fmt::format("'images' holds images of {} x {} x {}, which no memory can hold", shape[1], shape[2],
                             shape[3]));
  require_stored(path, images, "images");
  if (!file.nameExists("labels")) refuse(path, "has 'images' but no 'labels'");
  const std::vector<hsize_t> labels = shape_of(stored_integers(file, path, "labels"));
  if (labels[0] != shape[0]) refuse(path, fmt::format("holds {} images but {} labels", shape[0], labels[0]));
  info.mean = read_numbers(file, path, "mean", info.channels);
  info.deviation = read_numbers(file, path, "deviation", info.channels);
  require_plausible({info.mean, info.deviation}, path.string());
  for (const std::string& name : read_texts(file, path, "class_names")) info.class_names.push_back(printable(name));
  info.classes = static_cast<std::int64_t>(info.class_names.size());
}

/// Whether there is an array of one byte a token.
bool has_marks(const H5::H5File& file, const fs::path& path, const char* name, std::int64_t tokens) {
  if (!file.nameExists(name)) return false;
  const H5::DataSet marks = stored_integers(file, path, name);
  const auto count = static_cast<std::int64_t>(shape_of(marks)[0]);
  if (marks.getIntType() != H5::PredType::NATIVE_UINT8)
    refuse(path, fmt::format("'{}' must hold bytes (uint8), 0 or 1", name));
  if (count != tokens) refuse(path, fmt::format("holds {} tokens but {} in '{}'", tokens, count, name));
  return true;
}

void read_token_info(const H5::H5File& file, const fs::path& path, DatasetInfo& info) {
  info.kind = DatasetInfo::Kind::tokens;
  info.count = static_cast<std::int64_t>(shape_of(stored_integers(file, path, "tokens"))[0]);
  const H5::Attribute vocabulary = attribute(file, path, "vocabulary", "how many different tokens there can be");
  if (vocabulary.getTypeClass() != H5T_INTEGER || vocabulary.getSpace().getSimpleExtentNpoints() != 1) {
    refuse(path, "attribute 'vocabulary' must be one whole number");
  }
  vocabulary.read(H5::PredType::NATIVE_INT64, &info.vocabulary);
  if (info.vocabulary < 1 || info.vocabulary > std::numeric_limits<std::int32_t>::max()) {
    refuse(path, fmt::format("attribute 'vocabulary' is {}; it must be from 1 to 2147483647", info.vocabulary));
  }
  info.masked = has_marks(file, path, kTrainedArray, info.count);
  info.documents = has_marks(file, path, kStartsArray, info.count);
  if (file.attrExists(kPaddedTo)) {
    const H5::Attribute padded = file.openAttribute(kPaddedTo);
    if (padded.getTypeClass() != H5T_INTEGER || padded.getSpace().getSimpleExtentNpoints() != 1)
      refuse(path, fmt::format("attribute '{}' must be one whole number", kPaddedTo));
    padded.read(H5::PredType::NATIVE_INT64, &info.padded_to);
  }
  info.tokenizer = read_text(file, path, "tokenizer");
  info.tokenizer_checksum = read_text(file, path, "tokenizer_checksum");
}

/// Bytes that a data set keeps; empty if there are none.
std::string read_bytes(const H5::H5File& file, const fs::path& path, const char* name) {
  if (!file.nameExists(name)) return {};
  const H5::DataSet array = stored_integers(file, path, name);
  std::string content(shape_of(array)[0], '\0');
  array.read(content.data(), H5::PredType::NATIVE_UINT8);
  return content;
}

}  // namespace

DatasetInfo read_info(const H5::H5File& file, const fs::path& path) {
  return reading_hdf5(path, [&] {
    DatasetInfo info;
    const bool images = file.nameExists("images"), tokens = file.nameExists("tokens");
    if (images == tokens) {
      refuse(path, images ? "holds both 'images' and 'tokens'; a data set holds one of them"
                          : "holds neither 'images' nor 'tokens'; make a data set with 'lshdp data'");
    }
    if (images) {
      read_image_info(file, path, info);
    } else {
      read_token_info(file, path, info);
    }
    info.source = read_text(file, path, "source");
    return info;
  });
}

void read_rows(const H5::DataSet& array, std::int64_t first, std::int64_t count, void* values,
               const H5::PredType& type) {
  const H5::DataSpace file_space = array.getSpace();
  std::vector<hsize_t> start(static_cast<std::size_t>(file_space.getSimpleExtentNdims())), shape(start.size());
  file_space.getSimpleExtentDims(shape.data());
  start[0] = static_cast<hsize_t>(first);
  shape[0] = static_cast<hsize_t>(count);
  file_space.selectHyperslab(H5S_SELECT_SET, shape.data(), start.data());
  const H5::DataSpace memory_space(static_cast<int>(shape.size()), shape.data());
  array.read(values, type, memory_space, file_space);
}

TokenizerRecord read_tokenizer(const H5::H5File& file, const fs::path& path) {
  return reading_hdf5(path, [&] {
    return TokenizerRecord{read_text(file, path, "tokenizer"), read_text(file, path, "tokenizer_checksum"),
                           read_bytes(file, path, kVocabularyArray), read_bytes(file, path, kMergesArray),
                           read_bytes(file, path, kTokenizerArray)};
  });
}

std::vector<std::int64_t> read_labels(const H5::H5File& file, const fs::path& path) {
  return reading_hdf5(path, [&] {
    const H5::DataSet array = stored_integers(file, path, "labels");
    std::vector<std::int64_t> labels(shape_of(array)[0]);
    array.read(labels.data(), H5::PredType::NATIVE_INT64);
    return labels;
  });
}

}  // namespace lshdp::data
