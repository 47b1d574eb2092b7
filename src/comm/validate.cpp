// Checks of arguments, shared by all backends.
#include "validate.h"

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace lshdp::comm {
namespace {

void require(bool holds, const std::string& problem) {
  if (!holds) throw std::invalid_argument(problem);
}

bool aligned(const void* address, DataType type) {
  return reinterpret_cast<std::uintptr_t>(address) % size_of(type) == 0;
}

void validate_buffer(const Buffer& vector) {
  require(vector.count >= 0, fmt::format("a buffer of {} elements", vector.count));
  require(vector.data != nullptr || vector.count == 0, fmt::format("a null buffer of {} elements", vector.count));
  require(aligned(vector.data, vector.type), "a buffer that is not aligned to its elements");
}

void validate_shards(const Buffer& vector, const Shards& shards, int size) {
  const auto& bounds = shards.bounds;
  require(bounds.size() == static_cast<std::size_t>(size) + 1,
          fmt::format("{} bounds of shards for {} ranks: there must be one more than ranks", bounds.size(), size));
  require(bounds.front() == 0, fmt::format("shards that begin with {} instead of 0", bounds.front()));
  for (int rank = 0; rank < size; ++rank)
    require(shards.count(rank) >= 0, fmt::format("the shard of rank {} ends before it begins", rank));
  require(bounds.back() == vector.count,
          fmt::format("shards of {} elements for a buffer of {}", bounds.back(), vector.count));
}

void validate_transfer(const Transfer& how) {
  require(how.tag == kInOrder || (how.tag >= 0 && how.tag <= kLargestTag),
          fmt::format("tag {} is neither kInOrder nor one of 0 .. {}", how.tag, kLargestTag));
}

void validate_wire(const Buffer& vector, const Transfer& how) {
  require(how.wire == Wire::exact || vector.type == DataType::float32, "Wire::bf16 is for float32 only");
}

void validate_exact(const Transfer& how) {
  require(how.wire == Wire::exact, "Wire::bf16 is for sums and gathers only");
}

void validate_rank(int rank, int size, const char* what) {
  require(rank >= 0 && rank < size, fmt::format("{} {} is not one of {} ranks", what, rank, size));
}

}  // namespace

void validate_sum(const Buffer& vector, const Shards& shards, const Transfer& how, int rank, int size) {
  validate_buffer(vector);
  require(vector.type == DataType::float32 || vector.type == DataType::float64, "sums are of float32 or float64 only");
  validate_shards(vector, shards, size);
  validate_transfer(how);
  validate_wire(vector, how);
  if (how.scratch.empty()) return;
  const std::size_t wanted = scratch_bytes(shards, vector.type, rank, how.wire);
  require(how.scratch.size() >= wanted, fmt::format("scratch of {} bytes: {} are needed", how.scratch.size(), wanted));
  require(aligned(how.scratch.data(), vector.type), "scratch that is not aligned to the elements of the buffer");
}

void validate_all_reduce(const Buffer& vector, const Transfer& how, int rank, int size) {
  validate_buffer(vector);
  validate_sum(vector, all_reduce_shards(vector.count, size), how, rank, size);
}

void validate_gather(const Buffer& vector, const Shards& shards, const Transfer& how, int size) {
  validate_buffer(vector);
  validate_shards(vector, shards, size);
  validate_transfer(how);
  validate_wire(vector, how);
}

void validate_all_to_all(const Buffer& out, const Shards& out_shards, const Buffer& in, const Shards& in_shards,
                         const Transfer& how, int size) {
  for (const auto& [buffer, shards] : {std::pair(&out, &out_shards), std::pair(&in, &in_shards)}) {
    validate_buffer(*buffer);
    validate_shards(*buffer, *shards, size);
  }
  require(out.type == in.type, "an all-to-all of two types");
  require(how.scratch.empty(), "an all-to-all with scratch");
  validate_transfer(how);
  validate_exact(how);
}

void validate_broadcast(const Buffer& vector, int root, const Transfer& how, int size) {
  validate_buffer(vector);
  validate_transfer(how);
  validate_exact(how);
  validate_rank(root, size, "root");
}

void validate_message(const Buffer& vector, int peer, const Transfer& how, int rank, int size) {
  validate_buffer(vector);
  validate_transfer(how);
  validate_exact(how);
  validate_rank(peer, size, "peer");
  require(peer != rank, fmt::format("a message of rank {} to itself", rank));
}

void validate_members(const std::vector<int>& ranks, int rank, int size) {
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    validate_rank(ranks[i], size, "member");
    require(i == 0 || ranks[i - 1] < ranks[i], "members of a subgroup that do not rise");
  }
  require(std::ranges::find(ranks, rank) != ranks.end(),
          fmt::format("a subgroup that rank {} makes is without it", rank));
}

void validate_group(int rank, int size) {
  require(size >= 1, fmt::format("a group of {} ranks", size));
  validate_rank(rank, size, "rank");
}

}  // namespace lshdp::comm
