// A store of a model some of whose parameters are not trained: they lie beside the store of those that are.
#pragma once
#include <functional>
#include <memory>

#include "lshdp/comm/communicator.h"
#include "lshdp/core/trace.h"
#include "lshdp/model/model.h"
#include "lshdp/parallel/store.h"
#include "lshdp/parallel/store_options.h"

namespace lshdp::parallel {

/// Makes the store of what is trained; the model it is given outlives the store.
using MakeStore = std::function<std::unique_ptr<ParameterStore>(const model::Model& trained)>;

/// parameters() are those of the whole model, of which the frozen ones want no gradient; add_gradient() takes undefined
/// tensors for them. gather_each(), owned_state() and publish() are about the trained ones, numbered as in the whole
/// model. `model` must outlive it.
std::unique_ptr<ParameterStore> make_partly_frozen_store(const model::Model& model, const StoreOptions& options,
                                                         const MakeStore& make_store);

}  // namespace lshdp::parallel
