// Which tensor of a source is which parameter of a model.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "lshdp/model/model.h"
#include "lshdp/model/tensor_source.h"

namespace lshdp::model {

struct MatchedNames {
  std::vector<std::vector<std::string>> of_parameters;  // by block and parameter, as the source has them
  std::string head;                                     // the tied head beside the embedding; empty: none
};

/// `dispensable`: parameters that the source may lack; their names there are empty then. Throws UsageError naming a
/// tensor that is missing, or in the source but not in the model.
MatchedNames match_names(const Model& model, const TensorSource& source, std::span<const std::string> dispensable = {});

}  // namespace lshdp::model
