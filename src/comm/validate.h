// What every backend refuses, in one place: each function throws std::invalid_argument with a line that says what is
// wrong.
#pragma once
#include "lshdp/comm/communicator.h"

namespace lshdp::comm {

/// Arguments of reduce_scatter_sum at `rank`.
void validate_sum(const Buffer& vector, const Shards& shards, const Transfer& how, int rank, int size);
/// Arguments of all_reduce_sum at `rank`.
void validate_all_reduce(const Buffer& vector, const Transfer& how, int rank, int size);
/// Arguments of all_gather.
void validate_gather(const Buffer& vector, const Shards& shards, const Transfer& how, int size);
/// Arguments of broadcast from `root`.
void validate_all_to_all(const Buffer& out, const Shards& out_shards, const Buffer& in, const Shards& in_shards,
                         const Transfer& how, int size);
void validate_broadcast(const Buffer& vector, int root, const Transfer& how, int size);
/// Arguments of send and receive between `rank` and `peer`.
void validate_message(const Buffer& vector, int peer, const Transfer& how, int rank, int size);
/// The members of a subgroup, made by `rank` of `size`.
void validate_members(const std::vector<int>& ranks, int rank, int size);
/// A rank and a number of ranks.
void validate_group(int rank, int size);

}  // namespace lshdp::comm
