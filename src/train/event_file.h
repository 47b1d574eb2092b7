// Event files as TensorBoard reads them: records of scalars by step.
#pragma once
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace lshdp::train {

struct Scalar {
  std::string tag;  // what stands before the first '/' is a group of charts
  double value = 0;
};

/// CRC-32C (Castagnoli) of `bytes`: 0xe3069283 of "123456789".
std::uint32_t crc32c(std::string_view bytes);

/// A record of TFRecord files: length of `content`, its masked checksum, `content` and its masked checksum.
std::string framed_record(std::string_view content);

// Messages of TensorFlow's event.proto, encoded. `time` in seconds since 1970.
std::string version_event(double time);                                                      // the first of a file
std::string start_event(double time, std::int64_t step);                                     // drops steps from it on
std::string scalars_event(double time, std::int64_t step, std::span<const Scalar> scalars);  // each as a float

/// Writes FOLDER/events.out.tfevents.SECONDS.HOST.PID, which TensorBoard reads after the files that were there before.
class EventFile {
 public:
  /// A reader forgets what earlier files say of `first_step` and later ones. Makes the folder. Throws WriteError.
  EventFile(const std::filesystem::path& folder, std::int64_t first_step);
  ~EventFile();
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;
  /// Writes through to the file system, at once. Throws WriteError.
  void add(std::int64_t step, std::span<const Scalar> scalars);

 private:
  void write(std::string_view bytes);

  std::filesystem::path path_;
  int descriptor_;
};

}  // namespace lshdp::train
