// Compares a model's logits with those scripts/make_references.py --full stored: compare_logits MODEL WEIGHTS
// REFERENCE.
#include <cstdio>
#include <exception>

#include "lshdp/model/safetensors.h"
#include "model/run_model.h"

namespace lshdp::model {
namespace {

/// Prints the largest difference of any logit; true if it is at most 1e-4.
bool compare(const std::string& name, const std::string& weights, const std::string& reference) {
  const c10::InferenceMode no_gradients;
  const Model model = make_model(name);
  const Values values = read_weights(model, weights);
  const NamedTensors expected = read_safetensors(reference);
  const at::Tensor logits = test::logits_of(model, values, expected.at("input"));
  const double difference = (logits - expected.at("logits")).abs().max().item<double>();
  std::printf("%s: %lld parameters, largest difference of a logit %.3g (logits up to %.3g)\n", name.c_str(),
              static_cast<long long>(model.parameter_count()), difference, logits.abs().max().item<double>());
  return difference <= 1e-4;
}

}  // namespace
}  // namespace lshdp::model

int main(int argc, char** argv) try {
  if (argc != 4) {
    std::fprintf(stderr, "usage: compare_logits MODEL WEIGHTS.safetensors REFERENCE.safetensors\n");
    return 2;
  }
  return lshdp::model::compare(argv[1], argv[2], argv[3]) ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "compare_logits: %s\n", error.what());
  return 1;
}
