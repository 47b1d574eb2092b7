// TFRecord framing, and the few fields of protocol buffers that scalars need.
#include "event_file.h"

#include <array>
#include <bit>
#include <cerrno>
#include <ctime>
#include <system_error>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "lshdp/core/error.h"
#include "lshdp/core/host.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "events.out.tfevents.";

constexpr std::array<std::uint32_t, 256> make_crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < table.size(); ++byte) {
    std::uint32_t rest = byte;
    for (int bit = 0; bit < 8; ++bit) rest = (rest >> 1U) ^ ((rest & 1U) != 0 ? 0x82f63b78U : 0U);
    table[byte] = rest;
  }
  return table;
}

/// The bytes of a number, the lowest first.
template <typename T>
std::string little_endian(T value) {
  std::string bytes;
  for (std::size_t i = 0; i < sizeof value; ++i) bytes += static_cast<char>((value >> (8 * i)) & 0xff);
  return bytes;
}

std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7U) bytes += static_cast<char>(value | 0x80U);
  return bytes + static_cast<char>(value);
}

// Fields of protocol buffers by number.
std::string field(unsigned number, std::int64_t value) {
  return varint(number << 3U | 0U) + varint(static_cast<std::uint64_t>(value));
}
std::string field(unsigned number, double value) {
  return varint(number << 3U | 1U) + little_endian(std::bit_cast<std::uint64_t>(value));
}
std::string field(unsigned number, float value) {
  return varint(number << 3U | 5U) + little_endian(std::bit_cast<std::uint32_t>(value));
}
std::string field(unsigned number, std::string_view value) {
  return varint(number << 3U | 2U) + varint(value.size()) + std::string(value);
}

// Of Event, Summary, Summary.Value and SessionLog.
constexpr unsigned kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;
constexpr unsigned kValue = 1;
constexpr unsigned kTag = 1, kSimpleValue = 2;
constexpr unsigned kStatus = 1;
constexpr std::int64_t kStart = 1;

std::uint32_t masked_crc(std::string_view bytes) {
  const std::uint32_t crc = crc32c(bytes);
  return std::rotr(crc, 15) + 0xa282ead8U;
}

double wall_time() {
  timespec t{};
  clock_gettime(CLOCK_REALTIME, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// The seconds in the name of an event file; 0 of other files.
std::int64_t seconds_of(const std::string& name) {
  if (!name.starts_with(kPrefix)) return 0;
  std::int64_t seconds = 0;
  for (const char c : name.substr(kPrefix.size(), 10)) {
    if (c < '0' || c > '9') return 0;
    seconds = 10 * seconds + (c - '0');
  }
  return seconds;
}

/// Files are read in the order of their names: a new one comes after all that are there.
fs::path new_file(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw WriteError(folder.string(), error.value());
  std::int64_t seconds = std::time(nullptr);
  for (const auto& entry : fs::directory_iterator(folder, error))
    seconds = std::max(seconds, seconds_of(entry.path().filename().string()) + 1);
  if (error) throw WriteError(folder.string(), error.value());
  return folder / fmt::format("{}{:010}.{}.{}", kPrefix, seconds, host_name(), ::getpid());
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  static constexpr std::array<std::uint32_t, 256> table = make_crc_table();
  std::uint32_t crc = ~0U;
  for (const char byte : bytes) crc = (crc >> 8U) ^ table[(crc ^ static_cast<unsigned char>(byte)) & 0xffU];
  return ~crc;
}

std::string framed_record(std::string_view content) {
  const std::string length = little_endian(static_cast<std::uint64_t>(content.size()));
  return length + little_endian(masked_crc(length)) + std::string(content) + little_endian(masked_crc(content));
}

std::string version_event(double time) { return field(kWallTime, time) + field(kFileVersion, "brain.Event:2"); }

std::string start_event(double time, std::int64_t step) {
  return field(kWallTime, time) + field(kStep, step) + field(kSessionLog, field(kStatus, kStart));
}

std::string scalars_event(double time, std::int64_t step, std::span<const Scalar> scalars) {
  std::string summary;
  for (const Scalar& scalar : scalars)
    summary += field(kValue, field(kTag, scalar.tag) + field(kSimpleValue, static_cast<float>(scalar.value)));
  return field(kWallTime, time) + field(kStep, step) + field(kSummary, summary);
}

EventFile::EventFile(const fs::path& folder, std::int64_t first_step)
    : path_(new_file(folder)), descriptor_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644)) {
  if (descriptor_ < 0) throw WriteError(path_.string(), errno);
  const double now = wall_time();
  write(framed_record(version_event(now)) + framed_record(start_event(now, first_step)));
}

EventFile::~EventFile() { ::close(descriptor_); }

void EventFile::add(std::int64_t step, std::span<const Scalar> scalars) {
  write(framed_record(scalars_event(wall_time(), step, scalars)));
}

void EventFile::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) throw WriteError(path_.string(), written < 0 ? errno : EIO);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace lshdp::train
