// A file as HDF5 writes it, in which no write fails: what the system refused is remembered instead.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <H5Cpp.h>

namespace lshdp::data {

/// HDF5 1.10 does not survive a write that fails: its caches cannot be written, files cannot be closed, and it crashes
/// then or at the program's end. A virtual file driver of our own tells HDF5 that all is well; after the first error
/// metadata go to memory, where HDF5 finds them again, and values are dropped. Whoever writes asks error().
class Hdf5Sink {
 public:
  /// Closes `descriptor`, of a new file, at its end.
  explicit Hdf5Sink(int descriptor) : descriptor_(descriptor) {}
  ~Hdf5Sink();
  Hdf5Sink(const Hdf5Sink&) = delete;
  Hdf5Sink& operator=(const Hdf5Sink&) = delete;

  /// Makes H5::H5File write here, under whatever name. The sink must live until that file is closed.
  void use_in(H5::FileAccPropList& access) const;
  /// errno of the first write that the system refused; 0: none.
  int error() const { return error_; }

  // For the driver.
  void read(std::uint64_t at, std::span<std::byte> bytes) const;
  void write(std::uint64_t at, std::span<const std::byte> bytes, bool is_metadata);
  void truncate(std::uint64_t size);
  std::uint64_t size() const { return size_; }

 private:
  int descriptor_;
  int error_ = 0;
  std::uint64_t size_ = 0;
  std::vector<std::pair<std::uint64_t, std::vector<std::byte>>> refused_;  // metadata, in the order of writes
};

}  // namespace lshdp::data
