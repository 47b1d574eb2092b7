// Bytes of safetensors files to and from tensors.
#include "lshdp/model/safetensors.h"

#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "safetensors_header.h"

namespace lshdp::model {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");
constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kLongestHeader = 100'000'000;  // the reference reader's limit

/// Copies `bytes` bytes from `offset` of the file to `to`.
using ReadAt = std::function<void(std::uint64_t offset, void* to, std::uint64_t bytes)>;

std::string read_header(const ReadAt& read, std::uint64_t file_bytes, const std::string& source) {
  if (file_bytes < kLengthBytes) {
    throw UsageError(fmt::format("{}: {} bytes are too few for a safetensors file", source, file_bytes));
  }
  std::uint64_t length = 0;
  read(0, &length, kLengthBytes);
  if (length > kLongestHeader || length > file_bytes - kLengthBytes) {
    throw UsageError(
        fmt::format("{}: a header of {} bytes does not fit in the file's {}; it is truncated or no safetensors file",
                    source, length, file_bytes));
  }
  std::string header(length, '\0');
  read(kLengthBytes, header.data(), length);
  return header;
}

at::Tensor read_tensor(const SafetensorsEntry& entry, const ReadAt& read, std::uint64_t data_begin) {
  // A bool other than 0 and 1 must not come to be: read bytes, then compare with zero.
  const bool is_bool = entry.type == at::kBool;
  const at::Tensor tensor = at::empty(entry.shape, is_bool ? at::kByte : entry.type);
  if (entry.end > entry.begin) read(data_begin + entry.begin, tensor.data_ptr(), entry.end - entry.begin);
  return is_bool ? tensor.ne(0) : tensor;
}

NamedTensors read_all(const ReadAt& read, std::uint64_t file_bytes, const std::string& source) {
  const std::string header = read_header(read, file_bytes, source);
  const std::uint64_t data_begin = kLengthBytes + header.size();
  NamedTensors tensors;
  for (const SafetensorsEntry& entry : parse_safetensors_header(header, file_bytes - data_begin, source)) {
    tensors.emplace(entry.name, read_tensor(entry, read, data_begin));
  }
  return tensors;
}

/// A C stream that is closed, and whose errors become exceptions naming the file.
class Stream {
 public:
  Stream(const fs::path& path, const char* mode) : stream_(std::fopen(path.c_str(), mode)) {}
  ~Stream() {
    if (stream_ != nullptr) std::fclose(stream_);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  bool good() const { return stream_ != nullptr; }
  bool seek(std::uint64_t offset) { return fseeko(stream_, static_cast<off_t>(offset), SEEK_SET) == 0; }
  bool read(void* to, std::size_t bytes) { return std::fread(to, 1, bytes, stream_) == bytes; }
  bool write(const void* from, std::size_t bytes) { return std::fwrite(from, 1, bytes, stream_) == bytes; }
  bool close() { return std::fclose(std::exchange(stream_, nullptr)) == 0; }

 private:
  std::FILE* stream_;
};

/// False, with errno set, where the disk does not take it.
bool write_stream(const fs::path& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
  const std::string header = make_safetensors_header(tensors);
  Stream stream(path, "wbe");
  const std::uint64_t length = header.size();
  if (!stream.good() || !stream.write(&length, kLengthBytes) || !stream.write(header.data(), header.size()))
    return false;
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor plain = tensor.detach().cpu().contiguous();
    if (plain.nbytes() > 0 && !stream.write(plain.data_ptr(), plain.nbytes())) return false;
  }
  return stream.close();
}

}  // namespace

NamedTensors read_safetensors(const fs::path& path) {
  const std::string source = path.string();
  std::error_code error;
  const std::uint64_t bytes = fs::file_size(path, error);
  errno = error.value();
  if (error) throw UsageError(fmt::format("cannot read {}: {}", source, error.message()));
  Stream stream(path, "rbe");
  const auto read = [&](std::uint64_t offset, void* to, std::uint64_t count) {
    if (!stream.good() || !stream.seek(offset) || !stream.read(to, count)) {
      throw UsageError(
          fmt::format("cannot read {}: {}", source, errno != 0 ? std::strerror(errno) : "it became shorter"));
    }
  };
  return read_all(read, bytes, source);
}

NamedTensors parse_safetensors(std::span<const std::byte> content, const std::string& source) {
  // read_all asks for no byte past the size it is given.
  const auto read = [&](std::uint64_t offset, void* to, std::uint64_t count) {
    if (count > 0) std::memcpy(to, content.data() + offset, count);
  };
  return read_all(read, content.size(), source);
}

void write_safetensors(const fs::path& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
  const fs::path temporary = path.string() + ".tmp";
  if (!write_stream(temporary, tensors)) {
    const int cause = errno;
    std::error_code ignored;
    fs::remove(temporary, ignored);
    throw WriteError(path.string(), cause);
  }
  commit_file(temporary, path);
}

}  // namespace lshdp::model
