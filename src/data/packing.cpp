// Best fit decreasing over the documents of a stream.
#include "packing.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

namespace lshdp::data {
namespace {

/// Tokens of a stream.
struct Piece {
  std::size_t begin = 0, size = 0;
};

std::vector<Piece> documents_in(const MarkedTokens& stream) {
  std::vector<Piece> documents;
  for (std::size_t at = 0; at < stream.tokens.size(); ++at) {
    if (stream.starts[at] != 0) documents.push_back({at, 0});
    ++documents.back().size;
  }
  return documents;
}

/// Samples with the pieces that they hold.
class Samples {
 public:
  explicit Samples(std::size_t length) : length_(length) {}

  void add(Piece document) {
    const bool cut = document.size > length_;
    for (; document.size > length_; document.begin += length_, document.size -= length_)
      pieces_.push_back({{document.begin, length_}});
    const auto found = cut ? open_.end() : open_.lower_bound({document.size, 0});
    std::size_t sample = pieces_.size(), room = length_;
    if (found == open_.end()) {
      pieces_.emplace_back();
    } else {
      std::tie(room, sample) = *found;
      open_.erase(found);
    }
    pieces_[sample].push_back(document);
    if (room > document.size) open_.emplace(room - document.size, sample);
  }
  const std::vector<std::vector<Piece>>& pieces() const { return pieces_; }

 private:
  std::size_t length_;
  std::vector<std::vector<Piece>> pieces_;              // by sample
  std::set<std::pair<std::size_t, std::size_t>> open_;  // room left, sample
};

}  // namespace

void MarkedTokens::push(std::uint32_t token, bool is_trained, bool is_start) {
  tokens.push_back(token);
  trained.push_back(is_trained ? 1 : 0);
  starts.push_back(is_start ? 1 : 0);
}

MarkedTokens packed(const MarkedTokens& stream, std::int64_t length, std::uint32_t padding) {
  const auto size = static_cast<std::size_t>(length);
  std::vector<Piece> documents = documents_in(stream);
  std::ranges::stable_sort(documents, std::ranges::greater(), &Piece::size);
  Samples samples(size);
  for (const Piece& document : documents) samples.add(document);
  MarkedTokens result;
  for (const std::vector<Piece>& pieces : samples.pieces()) {
    for (const auto& [begin, count] : pieces) {
      for (std::size_t at = begin; at < begin + count; ++at)
        result.push(stream.tokens[at], stream.trained[at] != 0, stream.starts[at] != 0);
    }
    for (bool first = true; result.tokens.size() % size != 0; first = false) result.push(padding, false, first);
  }
  return result;
}

}  // namespace lshdp::data
