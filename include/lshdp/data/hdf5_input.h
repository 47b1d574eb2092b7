// Reading HDF5 through its C++ API, with its errors turned into ours.
#pragma once
#include <filesystem>
#include <string>

#include <H5Cpp.h>

#include "lshdp/core/error.h"

namespace lshdp::data {

/// While it lives, the innermost cause of HDF5's first failure on this thread is kept. HDF5 itself prints nothing from
/// then on.
class Hdf5Cause {
 public:
  Hdf5Cause();
  ~Hdf5Cause();
  Hdf5Cause(const Hdf5Cause&) = delete;
  Hdf5Cause& operator=(const Hdf5Cause&) = delete;
  /// For example "truncated file: eof = 1234, ...".
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  H5E_auto2_t old_function_ = nullptr;
  void* old_data_ = nullptr;
};

/// "No space left on device" of "errno = 28, error message = 'No space left on device', ...": what the system said, if
/// it said something, else empty.
std::string system_message(const std::string& cause);

/// Throws UsageError: what the system said, or that the file is damaged.
[[noreturn]] void refuse_to_read(const std::filesystem::path& path, const std::string& cause);

/// Runs `read`; an error of HDF5 becomes a UsageError that names the file.
template <typename Read>
auto reading_hdf5(const std::filesystem::path& path, Read read) {
  const Hdf5Cause cause;
  try {
    return read();
  } catch (const H5::Exception& error) {
    refuse_to_read(path, cause.text().empty() ? error.getDetailMsg() : cause.text());
  }
}

/// Opens for reading, also where the file system knows no locks. Throws UsageError: missing, unreadable, not HDF5,
/// truncated, open for writing elsewhere.
H5::H5File open_hdf5(const std::filesystem::path& path);

}  // namespace lshdp::data
