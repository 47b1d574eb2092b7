// Opening HDF5 files, with every way that fails told apart.
#include "lshdp/data/hdf5_input.h"

#include <cerrno>

#include <fmt/format.h>

#include "lshdp/core/input_file.h"

namespace lshdp::data {
namespace {

namespace fs = std::filesystem;

herr_t keep_innermost(unsigned depth, const H5E_error2_t* error, void* text) {
  if (depth == 0 && error->desc != nullptr) *static_cast<std::string*>(text) = error->desc;
  return 0;
}

herr_t keep_first(hid_t stack, void* data) {
  auto* text = static_cast<std::string*>(data);
  if (text->empty()) H5Ewalk2(stack, H5E_WALK_UPWARD, keep_innermost, text);
  return 0;
}

/// HDF5 locks what it opens, also for reading, and refuses where it cannot: a file system without locks is no reason
/// not to read, another program that writes is.
H5::H5File open_read_only(const fs::path& path) {
  const Hdf5Cause cause;
  try {
    return {path.string(), H5F_ACC_RDONLY};
  } catch (const H5::Exception&) {
    // The second is said where this process has the file open without locks already.
    const bool of_locks = cause.text().find("lock file") != std::string::npos ||
                          cause.text().find("file locking flag") != std::string::npos;
    if (!of_locks) refuse_to_read(path, cause.text());
    if (cause.text().find(fmt::format("errno = {},", EAGAIN)) != std::string::npos)
      throw UsageError(fmt::format("cannot read {}: another program has it open for writing", path.string()));
  }
  H5::FileAccPropList unlocked;
  H5Pset_file_locking(unlocked.getId(), /*use_file_locking=*/0, /*ignore_when_disabled=*/1);
  return {path.string(), H5F_ACC_RDONLY, H5::FileCreatPropList::DEFAULT, unlocked};
}

}  // namespace

std::string system_message(const std::string& cause) {
  const std::string before = "error message = '";
  const std::size_t found = cause.find(before);
  if (found == std::string::npos) return {};
  const std::size_t begin = found + before.size();
  return cause.substr(begin, cause.find('\'', begin) - begin);
}

void refuse_to_read(const fs::path& path, const std::string& cause) {
  const std::string message = system_message(cause);
  throw UsageError(
      fmt::format("cannot read {}: {}", path.string(), message.empty() ? "the file is damaged: " + cause : message));
}

Hdf5Cause::Hdf5Cause() {
  H5Eget_auto2(H5E_DEFAULT, &old_function_, &old_data_);
  H5Eset_auto2(H5E_DEFAULT, keep_first, &text_);
}

Hdf5Cause::~Hdf5Cause() {
  const bool nested = old_function_ == keep_first;
  H5Eset_auto2(H5E_DEFAULT, nested ? keep_first : nullptr, nested ? old_data_ : nullptr);
}

H5::H5File open_hdf5(const fs::path& path) {
  const InputFile readable(path);  // else HDF5 would say the same less clearly
  return reading_hdf5(path, [&] {
    if (!H5::H5File::isHdf5(path.string())) {
      throw UsageError(fmt::format("{}: is not an HDF5 file; make a data set with 'lshdp data'", path.string()));
    }
    return open_read_only(path);
  });
}

}  // namespace lshdp::data
