// What is in a data set, for people.
#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "hdf5_file.h"
#include "image_output.h"
#include "lshdp/core/text.h"
#include "lshdp/data/converters.h"

namespace lshdp::data {
namespace {

namespace fs = std::filesystem;

std::string numbers(const std::vector<double>& values) { return fmt::format("{:.4f}", fmt::join(values, ", ")); }

/// Images of each class; labels out of range are told as such.
std::string class_table(const DatasetInfo& info, const std::vector<std::int64_t>& labels) {
  std::map<std::int64_t, std::int64_t> counts;
  for (std::int64_t c = 0; c < info.classes; ++c) counts[c] = 0;
  for (const std::int64_t label : labels) ++counts[label];
  Table table({"class", "name", "images"});
  for (const auto& [label, count] : counts) {
    const bool named = label >= 0 && label < static_cast<std::int64_t>(info.class_names.size());
    const std::string name = named                      ? info.class_names[static_cast<std::size_t>(label)]
                             : info.class_names.empty() ? ""
                                                        : "OUT OF RANGE";
    table.add({std::to_string(label), printable(name), format_count(count)});
  }
  return table.to_string();
}

std::string describe_images(const DatasetInfo& info, const std::vector<std::int64_t>& labels) {
  Table table({"images", format_count(info.count)});
  table.add({"channels x height x width", fmt::format("{} x {} x {}", info.channels, info.height, info.width)});
  table.add({"mean", numbers(info.mean)});
  table.add({"deviation", numbers(info.deviation)});
  return table.to_string() + "\n" + class_table(info, labels);
}

/// By token.
std::vector<std::uint8_t> read_marks(const H5::H5File& file, const char* array, const DatasetInfo& info) {
  std::vector<std::uint8_t> marks(static_cast<std::size_t>(info.count));
  file.openDataSet(array).read(marks.data(), H5::PredType::NATIVE_UINT8);
  return marks;
}

/// The padding of a sample begins as a document does, and none of it is trained.
std::int64_t count_documents(const std::vector<std::uint8_t>& starts, const std::vector<std::uint8_t>& trained) {
  std::int64_t documents = 0;
  bool counted = true;  // the one in hand
  for (std::size_t token = 0; token < starts.size(); ++token) {
    if (starts[token] != 0) counted = false;
    if (counted || trained[token] == 0) continue;
    ++documents;
    counted = true;
  }
  return documents;
}

std::string describe_tokens(const H5::H5File& file, const DatasetInfo& info) {
  Table table({"tokens", format_count(info.count)});
  std::vector<std::uint8_t> trained(static_cast<std::size_t>(info.count), 1);
  if (info.masked) {
    trained = read_marks(file, kTrainedArray, info);
    table.add({"trained", format_count(info.count - std::ranges::count(trained, 0))});
  }
  if (info.documents) {
    const std::int64_t documents = count_documents(read_marks(file, kStartsArray, info), trained);
    table.add({"documents, kept apart", format_count(documents)});
  }
  if (info.padded_to > 0)
    table.add(
        {info.documents ? "documents fill samples of" : "a document fills samples of", format_count(info.padded_to)});
  table.add({"vocabulary", format_count(info.vocabulary)});
  table.add({"tokenizer", info.tokenizer.empty() ? "not known" : info.tokenizer});
  if (!info.tokenizer_checksum.empty()) table.add({"vocabulary and merges", info.tokenizer_checksum});
  return table.to_string();
}

}  // namespace

Statistics read_statistics(const fs::path& path) {
  const DatasetInfo info = read_info(open_hdf5(path), path);
  if (info.kind != DatasetInfo::Kind::images)
    throw UsageError(fmt::format("{}: holds tokens, not images", path.string()));
  return {info.mean, info.deviation};
}

std::vector<std::string> read_class_names(const fs::path& path) {
  const DatasetInfo info = read_info(open_hdf5(path), path);
  if (info.kind != DatasetInfo::Kind::images)
    throw UsageError(fmt::format("{}: holds tokens, not images", path.string()));
  if (info.class_names.empty()) throw UsageError(fmt::format("{}: has no class names", path.string()));
  require_distinct(info.class_names, path.string());
  return info.class_names;
}

std::string describe_dataset(const fs::path& path) {
  const H5::H5File file = open_hdf5(path);
  const DatasetInfo info = read_info(file, path);
  const std::string title = fmt::format("{}: {}\n\n", printable(path.filename().string()),
                                        info.source.empty() ? "source unknown" : printable(info.source));
  if (info.kind == DatasetInfo::Kind::tokens)
    return title + reading_hdf5(path, [&] { return describe_tokens(file, info); });
  return title + describe_images(info, read_labels(file, path));
}

}  // namespace lshdp::data
