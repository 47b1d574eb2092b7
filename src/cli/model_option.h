// The model of a command: by --model, or by what lies beside its weights; the same on all ranks.
#pragma once
#include <string>

#include "lshdp/cli/options.h"
#include "lshdp/comm/communicator.h"
#include "lshdp/model/model.h"
#include "lshdp/train/saved_model.h"

namespace lshdp::cli {

/// What follows the name of a model with adapters.
inline constexpr const char* kWithAdapters = " with LoRA ";

/// --model, with what changes the model that is named there: --context, --lora.
void add_model_options(Options& options);
/// --context alone, for commands that take the model of weights.
void add_context_option(Options& options);
/// --adapter: goes on with a saved adapter.
void add_adapter_option(Options& options);

/// --model with the changes that add_model_options() and add_adapter_option() name: made on rank 0 and described to the
/// others, since a JSON file need not be on their hosts. Throws AgreedError. All ranks must call it.
model::Model shared_model(comm::Communicator& communicator, const Values& values);
/// The same with --context alone.
model::Model shared_model_of_samples(comm::Communicator& communicator, const Values& values);

/// What make_model() takes for the model of saved weights: --model, or what describes it beside the weights. Throws
/// UsageError where neither is there.
std::string model_of_weights(const Values& values, const train::SavedModel& saved);

/// The weights that --init names; with --adapter, of the run that trained it. Throws UsageError.
train::SavedModel given_weights(const Values& values);

/// The same of the weights that --init names, as shared_model(); `takes_samples`: with --context. All ranks must call
/// it.
model::Model shared_model_of_weights(comm::Communicator& communicator, const Values& values, bool takes_samples);

}  // namespace lshdp::cli
