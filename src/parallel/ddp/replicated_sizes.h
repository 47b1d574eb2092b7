// What the replicated store and its prediction of memory share.
#pragma once
#include <cstdint>

#include "ddp/replicated_store.h"

namespace lshdp::parallel {

/// Gathering updated fp32 parameters as bf16 would lose what small updates do to them. What the step changed is small
/// itself, so that is what is rounded; its owner keeps the master weights and sends with the next change what rounding
/// left out.
bool changes_travel(const StoreOptions& options);
/// Host memory for copies of the gradients of a bucket of `count` elements, and of what is gathered of it.
std::int64_t wire_bytes(std::int64_t count, const StoreOptions& options);

}  // namespace lshdp::parallel
