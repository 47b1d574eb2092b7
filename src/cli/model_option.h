// The model of a command: by --model, or by what lies beside its weights; the same on all ranks.
#pragma once
#include <filesystem>
#include <string>

#include "lshdp/cli/options.h"
#include "lshdp/comm/communicator.h"
#include "lshdp/model/lora.h"
#include "lshdp/model/model.h"
#include "lshdp/train/saved_model.h"

namespace lshdp::cli {

/// What follows the name of a model with adapters.
inline constexpr const char* kWithAdapters = " with LoRA ";

/// The same of a model of which parts stay as they are.
inline constexpr const char* kWithFrozen = " with frozen ";

/// --model, with what changes the model that is named there: --context, --lora, --freeze.
void add_model_options(Options& options);
/// --context alone, for commands that take the model of weights.
void add_context_option(Options& options);
/// --packing: whether samples hold several documents, for commands that take no data set, which would say it.
void add_packing_option(Options& options);
/// --adapter: goes on with a saved adapter.
void add_adapter_option(Options& options);

/// --model with the changes that add_model_options() and add_adapter_option() name: made on rank 0 and described to the
/// others, since a JSON file need not be on their hosts. Throws AgreedError. All ranks must call it.
model::Model shared_model(comm::Communicator& communicator, const Values& values);
/// The same for a run that goes on, whose adapters are `recorded` (null: it has none): what says the same in other
/// words is taken for it, what is left out as well, and other adapters are refused.
model::Model shared_model_of_run(comm::Communicator& communicator, const Values& values,
                                 const model::LoraSettings* recorded);
/// The same of a command with add_packing_option().
model::Model shared_packed_model(comm::Communicator& communicator, const Values& values);
/// The same with --context alone.
model::Model shared_model_of_samples(comm::Communicator& communicator, const Values& values);

/// What make_model() takes for the model of saved weights: --model, or what describes it beside the weights. Throws
/// UsageError where neither is there.
std::string model_of_weights(const Values& values, const train::SavedModel& saved);

/// What training begins with: the weights that --init names, or those in the file of a model that was exported from
/// PyTorch; empty: fresh ones. Throws AgreedError where an exported model has none. All ranks must call it.
std::filesystem::path first_weights(comm::Communicator& communicator, const model::Model& model, const Values& values);

/// The weights that --init names; with --adapter, of the run that trained it. Throws UsageError.
train::SavedModel given_weights(const Values& values);

/// The same of the weights that --init names, as shared_model(); `takes_samples`: with --context. All ranks must call
/// it.
model::Model shared_model_of_weights(comm::Communicator& communicator, const Values& values, bool takes_samples);

}  // namespace lshdp::cli
