// Bytes of safetensors files to and from tensors.
#include "lshdp/model/safetensors.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>
#include <stdexcept>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/file_kind.h"
#include "lshdp/core/input_file.h"
#include "lshdp/core/json.h"
#include "other_formats.h"
#include "safetensors_header.h"

namespace lshdp::model {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");
constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeader = 100'000'000;  // the reference reader's limit

/// Copies `bytes` bytes from `offset` of the file to `to`.
using ReadAt = std::function<void(std::uint64_t offset, void* to, std::uint64_t bytes)>;

std::string read_header(const ReadAt& read, std::uint64_t file_bytes, const std::string& source) {
  std::string head(std::min<std::uint64_t>(file_bytes, kHeadBytes), '\0');
  read(0, head.data(), head.size());
  std::uint64_t length = 0;
  std::memcpy(&length, head.data(), std::min<std::size_t>(head.size(), kLengthBytes));
  const bool fits = file_bytes >= kLengthBytes && length <= kMaxHeader && length <= file_bytes - kLengthBytes;
  if (!fits || head[kLengthBytes] != '{') refuse_other_formats(head, source);
  if (file_bytes < kLengthBytes) {
    throw UsageError(fmt::format("{}: {} bytes are too few for a safetensors file", source, file_bytes));
  }
  if (!fits) {
    throw UsageError(
        fmt::format("{}: a header of {} bytes does not fit in the file's {}; it is truncated or no safetensors file",
                    source, length, file_bytes));
  }
  std::string header(length, '\0');
  read(kLengthBytes, header.data(), length);
  return header;
}

at::Tensor read_tensor(const SafetensorsEntry& entry, const ReadAt& read, std::uint64_t data_begin,
                       const std::string& source) {
  if (!entry.type)
    throw UsageError(
        fmt::format("{}: tensor {} has type {}, which is not supported", source, entry.name, entry.type_name));
  // A bool other than 0 and 1 must not come to be: read bytes, then compare with zero.
  const bool is_bool = entry.type == at::kBool;
  const at::Tensor tensor = at::empty(entry.shape, is_bool ? at::kByte : *entry.type);
  if (entry.end > entry.begin) read(data_begin + entry.begin, tensor.data_ptr(), entry.end - entry.begin);
  return is_bool ? tensor.ne(0) : tensor;
}

ReadAt reader_of(const InputFile& file) {
  return [&file](std::uint64_t offset, void* to, std::uint64_t bytes) {
    file.read_at(offset, {static_cast<std::byte*>(to), bytes});
  };
}

/// Keeps the header, and opens the file anew for each tensor: a model of many shards needs no descriptor for each.
class SafetensorsFile final : public TensorSource {
 public:
  explicit SafetensorsFile(fs::path path) : path_(std::move(path)), where_(path_.string()) {
    const InputFile file(path_);
    const std::uint64_t bytes = file.size();
    const std::string header = read_header(reader_of(file), bytes, where_);
    data_begin_ = kLengthBytes + header.size();
    for (SafetensorsEntry& entry : parse_safetensors_header(header, bytes - data_begin_, where_)) {
      names_.insert(entry.name);
      entries_.emplace(entry.name, std::move(entry));
    }
  }

  const std::string& where() const override { return where_; }
  const std::set<std::string>& names() const override { return names_; }
  at::Tensor read(const std::string& name) override {
    const InputFile file(path_);
    return read_tensor(entries_.at(name), reader_of(file), data_begin_, where_);
  }

 private:
  fs::path path_;
  std::string where_;
  std::uint64_t data_begin_ = 0;
  std::map<std::string, SafetensorsEntry> entries_;
  std::set<std::string> names_;
};

/// 0, or the errno.
int write_at(int descriptor, std::uint64_t offset, const void* from, std::uint64_t bytes) {
  for (std::uint64_t done = 0; done < bytes;) {
    const ssize_t count =
        ::pwrite(descriptor, static_cast<const char*>(from) + done, bytes - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    done += static_cast<std::uint64_t>(count);
  }
  return 0;
}

}  // namespace

std::unique_ptr<TensorSource> open_safetensors(const fs::path& path) { return std::make_unique<SafetensorsFile>(path); }

NamedTensors read_safetensors(const fs::path& path) {
  SafetensorsFile file(path);
  NamedTensors tensors;
  for (const std::string& name : file.names()) tensors.emplace(name, file.read(name));
  return tensors;
}

NamedTensors parse_safetensors(std::span<const std::byte> content, const std::string& source) {
  // Nothing below asks for a byte past the size it is given.
  const ReadAt read = [&](std::uint64_t offset, void* to, std::uint64_t count) {
    if (count > 0) std::memcpy(to, content.data() + offset, count);
  };
  const std::string header = read_header(read, content.size(), source);
  const std::uint64_t data_begin = kLengthBytes + header.size();
  NamedTensors tensors;
  for (const SafetensorsEntry& entry : parse_safetensors_header(header, content.size() - data_begin, source))
    tensors.emplace(entry.name, read_tensor(entry, read, data_begin, source));
  return tensors;
}

std::map<std::string, std::string> read_safetensors_metadata(const fs::path& path) {
  const std::string source = path.string();
  const InputFile file(path);
  const std::uint64_t bytes = file.size();
  const std::string header = read_header(reader_of(file), bytes, source);
  parse_safetensors_header(header, bytes - kLengthBytes - header.size(), source);  // checks it
  return Json::parse(header).value("__metadata__", std::map<std::string, std::string>());
}

struct SafetensorsWriter::State {
  fs::path path, temporary;
  int descriptor = -1;
  std::uint64_t data_begin = 0;
  std::map<std::string, SafetensorsEntry> missing;

  [[noreturn]] void fail(int error) const { throw WriteError(path.string(), error); }
  void put(std::uint64_t offset, const void* from, std::uint64_t bytes) const {
    if (const int error = write_at(descriptor, offset, from, bytes); error != 0) fail(error);
  }
};

SafetensorsWriter::SafetensorsWriter(const fs::path& path, const std::vector<TensorShape>& tensors,
                                     const std::map<std::string, std::string>& metadata)
    : state_(std::make_unique<State>()) {
  const std::vector<SafetensorsEntry> entries = place_tensors(tensors);
  const std::string header = make_safetensors_header(entries, metadata);
  for (const SafetensorsEntry& entry : entries) state_->missing.emplace(entry.name, entry);
  state_->path = path;
  state_->temporary = path.string() + ".tmp";
  state_->data_begin = kLengthBytes + header.size();
  state_->descriptor = ::open(state_->temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (state_->descriptor < 0) state_->fail(errno);
  const std::uint64_t length = header.size();
  try {
    state_->put(0, &length, kLengthBytes);
    state_->put(kLengthBytes, header.data(), header.size());
  } catch (const Error&) {
    discard();
    throw;
  }
}

SafetensorsWriter::~SafetensorsWriter() { discard(); }

void SafetensorsWriter::discard() noexcept {
  if (state_->descriptor < 0) return;
  ::close(std::exchange(state_->descriptor, -1));
  std::error_code ignored;
  fs::remove(state_->temporary, ignored);
}

void SafetensorsWriter::write(const std::string& name, const at::Tensor& tensor) {
  const auto found = state_->missing.find(name);
  if (found == state_->missing.end()) throw std::invalid_argument("no tensor " + name + " is to be written");
  const SafetensorsEntry& entry = found->second;
  if (tensor.sizes() != at::IntArrayRef(entry.shape)) throw std::invalid_argument("wrong shape of tensor " + name);
  const at::Tensor plain = tensor.detach().to(at::kCPU, *entry.type).contiguous();
  state_->put(state_->data_begin + entry.begin, plain.data_ptr(), plain.nbytes());
  state_->missing.erase(found);
}

void SafetensorsWriter::commit() {
  if (!state_->missing.empty()) throw std::logic_error("tensor " + state_->missing.begin()->first + " is missing");
  if (::close(std::exchange(state_->descriptor, -1)) != 0) {
    const int cause = errno;
    std::error_code ignored;
    fs::remove(state_->temporary, ignored);
    state_->fail(cause);
  }
  commit_file(state_->temporary, state_->path);
}

void write_safetensors(const fs::path& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
  std::vector<TensorShape> shapes;
  for (const auto& [name, tensor] : tensors) shapes.push_back({name, tensor.scalar_type(), tensor.sizes().vec()});
  SafetensorsWriter writer(path, shapes);
  for (const auto& [name, tensor] : tensors) writer.write(name, tensor);
  writer.commit();
}

}  // namespace lshdp::model
