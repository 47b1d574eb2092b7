// One line a candidate.
#include <fmt/format.h>

#include "lshdp/explore/report.h"
#include "lshdp/explore/verdict.h"

namespace lshdp::explore {
namespace {

constexpr double kGB = 1e9, kMB = 1e6, kMillion = 1e6;

/// Text as a CSV has it: in quotes where it holds what has a meaning there.
std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string result = "\"";
  for (const char c : text) result += c == '"' ? std::string("\"\"") : std::string(1, c);
  return result + '"';
}

class Row {
 public:
  explicit Row(std::string& csv) : csv_(csv) {}
  Row& add(std::int64_t value) { return append(fmt::format_int(value).c_str()); }
  Row& add(std::string_view text) { return append(text); }
  Row& add(double value) {
    separate();
    fmt::format_to(std::back_inserter(csv_), "{:.9g}", value);
    return *this;
  }
  void end() { csv_ += '\n'; }

 private:
  Row& append(std::string_view text) {
    separate();
    csv_ += text;
    return *this;
  }
  void separate() {
    if (!first_) csv_ += ',';
    first_ = false;
  }

  std::string& csv_;
  bool first_ = true;
};

void append_times(const Settings& settings, const Candidate& candidate, Row& row) {
  if (const StepTime& time = candidate.time; time.seconds > 0) {
    const Throughput throughput = throughput_of(settings, candidate);
    row.add(time.seconds).add(throughput.tokens_per_second).add(throughput.utilization).add(time.compute);
    row.add(time.exchange).add(time.bubble).add(time.gradients).add(time.optimizer);
    throughput.price > 0 ? row.add(throughput.price) : row.add("");
    return;
  }
  constexpr int kTimes = 9;
  for (int column = 0; column < kTimes; ++column) row.add("");
}

}  // namespace

const std::vector<std::string>& csv_columns() {
  static const std::vector<std::string> columns{
      "name", "ngpus", "TP", "PP", "EP", "CP", "DP", "sub_seq_length", "micro_batch_size", "num_of_micro_batches",
      "pipeline_parallelism_bubble_rate", "data_parallel_sharding_strategy", "total_memory_gb",
      "model_and_optimizer_states_memory_gb", "activations_memory_gb", "cross_entropy_activation_memory_gb",
      "practice_activations_memory_gb", "expert_parameters_m", "non_expert_parameters_m",
      "expert_layers_activations_gb", "practice_expert_layers_activations_gb", "non_expert_layers_activations_gb",
      "mlp_activation_mb", "moe_activation_mb", "token_imbalance_hypothesis",
      // ours
      "interleaving", "recompute", "sequence_parallel", "layer_split", "worst_stage", "weights_gb", "gradients_gb",
      "master_weights_gb", "moments_gb", "working_set_gb", "buffers_gb", "framework_context_gb",
      "fragmentation_margin_gb", "device", "verdict",
      // empty without a cluster
      "step_seconds", "tokens_per_second", "model_flops_utilization", "compute_seconds", "exchange_seconds",
      "bubble_seconds", "gradient_seconds", "optimizer_seconds", "price_per_million_tokens",
      // the last two are empty without a cluster
      "offload", "host_memory_gb", "node_host_memory_gb", "host_transfer_seconds"};
  return columns;
}

void append_csv_row(const Settings& settings, const Candidate& candidate, std::string& csv) {
  const Model& model = settings.model;
  const Layout& layout = candidate.layout;
  const StageMemory& worst = candidate.worst;
  Row row(csv);
  row.add(quoted(model.name)).add(layout.devices).add(layout.tensor).add(layout.pipeline).add(layout.expert);
  row.add(layout.context).add(layout.data()).add(model.seq_length / layout.context).add(layout.micro_batch);
  row.add(layout.micro_batches(model)).add(bubble_rate(model, layout)).add(name_of(layout.sharding));
  row.add(worst.total() / kGB).add(worst.states() / kGB).add(worst.activations() / kGB).add(candidate.loss / kGB);
  row.add(worst.practice_activations() / kGB).add(worst.expert_parameters / kMillion);
  row.add(worst.dense_parameters / kMillion).add(worst.expert_activations / kGB);
  row.add(worst.practice_expert_activations / kGB).add((worst.other_activations + worst.loss) / kGB);
  row.add(candidate.mlp / kMB).add(candidate.moe / kMB).add(model.moe.token_imbalance_hypothesis);
  row.add(layout.interleaving).add(name_of(layout.recompute)).add(layout.sequence_parallel ? "true" : "false");
  row.add(name_of(layout.layer_split)).add(worst.stage).add(worst.weights / kGB).add(worst.gradients / kGB);
  row.add(worst.master / kGB).add(worst.moments / kGB).add(worst.working_set / kGB).add(worst.buffers / kGB);
  row.add(worst.context / kGB).add(worst.margin / kGB);
  row.add(settings.device ? quoted(settings.device->name) : "");
  row.add(settings.device ? name_of(verdict(settings, candidate)) : "");
  append_times(settings, candidate, row);
  row.add(name_of(layout.offload)).add(worst.host / kGB);
  if (candidate.time.seconds > 0)
    row.add(candidate.node_host / kGB).add(candidate.time.host_transfers);
  else
    row.add("").add("");
  row.end();
}

}  // namespace lshdp::explore
