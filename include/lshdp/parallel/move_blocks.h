// Moving blocks of a model from rank to rank in mid-run, with all that belongs to them.
#pragma once
#include <cstdint>
#include <memory>

#include "lshdp/comm/communicator.h"
#include "lshdp/core/trace.h"
#include "lshdp/model/model.h"
#include "lshdp/parallel/store.h"
#include "lshdp/parallel/store_options.h"
#include "lshdp/plan/layout.h"

namespace lshdp::parallel {

/// Bytes that go from rank to rank where a run of layout `from` goes on as `to`: values and both moments in the master
/// type, and what is not trained as it is held.
std::int64_t moved_bytes(const model::Model& model, const StoreOptions& options, const plan::Layout& from,
                         const plan::Layout& to);

/// The store of layout `to` with the state of `store`, which has layout `from` and is synchronized; nothing may refer
/// to it any more. Values, moments, what is not trained and the loss scale are the same bits afterwards; what --wire
/// bf16 has left out of the values is in them, as after a resume. Both layouts have one replica. `options`: of the new
/// store, with the Placement of `to`.
///
/// At a time, a rank holds what the old store had, without its gradients, and the blocks that come to it; then, bucket
/// by bucket, the new store in place of these. All ranks must call it, between two steps. Throws RunError where a rank
/// that blocks come from or go to is lost, and whatever memory that there is not gives; the run cannot go on then.
std::unique_ptr<ParameterStore> move_blocks(std::unique_ptr<ParameterStore> store, const model::Model& model,
                                            comm::Communicator& communicator, const plan::Layout& from,
                                            const plan::Layout& to, const StoreOptions& options,
                                            Trace* trace = nullptr);

}  // namespace lshdp::parallel
