// An HDF5 file that is either whole or absent, whatever fails while it is written.
#pragma once
#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <H5Cpp.h>

namespace lshdp::data {

class Hdf5Sink;

/// Written under a temporary name beside its own; one that is destroyed before commit() leaves no file. Every write
/// happens in guarded(), and handles of arrays and groups are kept here until the file is closed.
class Hdf5Output {
 public:
  /// Throws UsageError if no file can be made there, WriteError if the disk is full.
  explicit Hdf5Output(const std::filesystem::path& path);
  ~Hdf5Output();
  Hdf5Output(const Hdf5Output&) = delete;
  Hdf5Output& operator=(const Hdf5Output&) = delete;

  /// Runs `write`; an error of HDF5 or of the disk discards the file and becomes a WriteError with its cause.
  template <typename Write>
  void guarded(Write write) {
    begin_writing();
    try {
      write();
    } catch (const H5::Exception& error) {
      fail(error);
    } catch (...) {
      end_writing();
      throw;
    }
    require_written();
    end_writing();
  }

  /// An array; an empty `chunk`: contiguous. Lives as long as this object, as all that follow. In guarded() only.
  H5::DataSet& create(const std::string& name, const H5::PredType& type, const std::vector<hsize_t>& shape,
                      const std::vector<hsize_t>& chunk, bool compressed = false);
  H5::Group& create_group(const std::string& name);
  /// Attributes of the file.
  void describe(const char* name, const std::string& text) { describe(name, std::vector<std::string>{text}, true); }
  void describe(const char* name, const std::vector<std::string>& texts, bool scalar = false);
  void describe(const char* name, const std::vector<double>& numbers);
  void describe(const char* name, std::int64_t number);
  /// A whole file as an array of bytes; attributes do not take that much. Nothing for an empty `content`.
  void embed(const char* name, const std::string& content);

  /// Flushes while all handles are open, so that what fails, fails here; then closes them, fsyncs, and gives the file
  /// its name. Throws WriteError.
  void commit();

 private:
  class Cause;
  void begin_writing();
  void end_writing();
  void require_written();
  [[noreturn]] void fail(const H5::Exception& error);
  void close();
  void discard();

  std::filesystem::path path_, temporary_;
  std::unique_ptr<Hdf5Sink> sink_;  // outlives what HDF5 has open
  H5::H5File file_;
  std::deque<H5::Group> groups_;
  std::deque<H5::DataSet> arrays_;
  std::unique_ptr<Cause> cause_;
  bool finished_ = false;
};

}  // namespace lshdp::data
