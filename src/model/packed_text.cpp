// base64 (RFC 4648) with padding, around a zlib stream, whose checksum tells damage.
#include "packed_text.h"

#include <array>
#include <cstdint>
#include <vector>

#include <fmt/format.h>
#include <zlib.h>

#include "lshdp/core/error.h"

namespace lshdp::model {
namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::uint8_t kNone = 0xff;

std::array<std::uint8_t, 256> make_values() {
  std::array<std::uint8_t, 256> values{};
  values.fill(kNone);
  for (std::size_t i = 0; i < kAlphabet.size(); ++i)
    values[static_cast<unsigned char>(kAlphabet[i])] = static_cast<std::uint8_t>(i);
  return values;
}

/// Without its padding.
std::string_view body_of(std::string_view text) {
  for (int i = 0; i < 2 && text.ends_with('='); ++i) text.remove_suffix(1);
  return text;
}

std::string decoded(std::string_view text, const std::string& source) {
  const std::array<std::uint8_t, 256> values = make_values();
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  std::uint32_t bits = 0;
  int count = 0;  // bits that are not in `bytes` yet
  if (text.size() % 4 != 0) throw UsageError(fmt::format("{}: is not base64: its length is odd", source));
  for (const char letter : body_of(text)) {
    const std::uint8_t value = values[static_cast<unsigned char>(letter)];
    if (value == kNone) throw UsageError(fmt::format("{}: is not base64", source));
    bits = bits << 6 | value;
    if ((count += 6) < 8) continue;
    count -= 8;
    bytes.push_back(static_cast<char>(bits >> count & 0xff));
  }
  return bytes;
}

class Inflater {
 public:
  explicit Inflater(std::string& packed) {
    stream_.next_in = reinterpret_cast<Bytef*>(packed.data());
    stream_.avail_in = static_cast<uInt>(packed.size());
    ready_ = inflateInit(&stream_) == Z_OK;
  }
  ~Inflater() {
    if (ready_) inflateEnd(&stream_);
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  /// Whether the stream ended well with all that it was made of, in at most `limit` bytes.
  bool run(std::string& out, std::size_t limit) {
    std::vector<Bytef> chunk(std::size_t{1} << 16);
    int state = ready_ ? Z_OK : Z_MEM_ERROR;
    while (state == Z_OK && out.size() <= limit) {
      stream_.next_out = chunk.data();
      stream_.avail_out = static_cast<uInt>(chunk.size());
      state = inflate(&stream_, Z_NO_FLUSH);
      out.append(chunk.begin(), chunk.end() - stream_.avail_out);
    }
    return state == Z_STREAM_END && stream_.avail_in == 0 && out.size() <= limit;
  }

 private:
  z_stream stream_{};
  bool ready_ = false;
};

}  // namespace

std::string unpacked(std::string_view text, std::size_t limit, const std::string& source) {
  std::string packed = decoded(text, source), bytes;
  if (!Inflater(packed).run(bytes, limit))
    throw UsageError(fmt::format("{}: is damaged, or larger than {} bytes", source, limit));
  return bytes;
}

}  // namespace lshdp::model
