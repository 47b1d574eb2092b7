// A rank's memory, part by part, and a step under a budget that counts.
#include "lshdp/measure/memory_report.h"

#include <algorithm>
#include <stdexcept>

#include <fmt/format.h>

#include "dry_run.h"
#include "file_header.h"
#include "lshdp/comm/agree.h"
#include "lshdp/comm/null_communicator.h"
#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/core/text.h"
#include "lshdp/measure/host_memory.h"
#include "lshdp/measure/max_batch.h"
#include "lshdp/parallel/make_store.h"

namespace lshdp::measure {
namespace {

constexpr std::uint64_t kSeed = 1;

/// A budget's limit while this lives, and the one after it.
class LimitScope {
 public:
  LimitScope(MemoryBudget& budget, std::int64_t limit_bytes, std::int64_t afterwards)
      : budget_(budget), afterwards_(afterwards) {
    budget.set_limit(limit_bytes);
  }
  ~LimitScope() { budget_.set_limit(afterwards_); }
  LimitScope(const LimitScope&) = delete;
  LimitScope& operator=(const LimitScope&) = delete;

 private:
  MemoryBudget& budget_;
  std::int64_t afterwards_;
};

/// Each rank a node of its own: what others share with it is not measured here.
parallel::StoreOptions options_alone(const RankSetup& setup, int ranks) {
  parallel::StoreOptions options = store_options(setup);
  if (plan::traits_of(setup.strategy.mode).shares_node_memory) {
    for (int rank = 0; rank < ranks; ++rank) options.node_names.push_back(std::to_string(rank));
  }
  return options;
}

void measure_store(const model::Model& model, const RankSetup& setup, int ranks, MemoryBudget& budget,
                   MemoryReport& report) {
  const std::int64_t before = budget.used();
  const auto communicator = comm::make_null_communicator(report.rank, ranks);
  const auto store = parallel::make_store(model, *communicator, options_alone(setup, ranks));
  report.measured_store_bytes = budget.used() - before;
  report.measured_host_bytes = store->usage().host_bytes;
}

struct StepMemory {
  std::int64_t data_bytes = 0;
  std::int64_t peak_bytes = 0;  // data and store included
};

StepMemory measure_step(const model::Model& model, const RankSetup& setup, int rank, int ranks, MemoryBudget& budget,
                        std::int64_t batch) {
  const std::int64_t before = budget.used();
  std::vector<model::SyntheticBatch> loaded;
  for (int i = 0; i <= MaxBatchOptions().batches_ahead; ++i)
    loaded.push_back(synthetic_batch_there(model.input, batch, kSeed, setup));
  StepMemory memory{.data_bytes = budget.used() - before};
  DryRun dry_run(model, setup, rank, ranks);
  budget.reset_peak();
  dry_run.finish_step(loaded.front());
  memory.peak_bytes = budget.peak() - before;
  return memory;
}

void measure_steps(const model::Model& model, const RankSetup& setup, int ranks, MemoryBudget& budget,
                   MemoryReport& report) {
  std::array<double, 2> beside_store{};
  for (std::size_t i = 0; i < report.from.size(); ++i) {
    const StepMemory step = measure_step(model, setup, report.rank, ranks, budget, report.from[i]);
    beside_store[i] = static_cast<double>(step.peak_bytes - step.data_bytes - report.measured_store_bytes);
  }
  const double slope = (beside_store[1] - beside_store[0]) / static_cast<double>(report.from[1] - report.from[0]);
  report.step_bytes =
      static_cast<std::int64_t>(beside_store[1] + slope * static_cast<double>(report.batch - report.from[1]));
  const StepMemory whole = measure_step(model, setup, report.rank, ranks, budget, report.batch);
  report.data_bytes = whole.data_bytes;
  report.measured_device_bytes = whole.peak_bytes;
}

Json to_json(const parallel::MemoryParts& parts) {
  return {{"parameters", parts.parameters},
          {"gradients", parts.gradients},
          {"moments", parts.moments},
          {"buffers", parts.buffers}};
}

parallel::MemoryParts parts_from(const Json& json) {
  return {json.at("parameters"), json.at("gradients"), json.at("moments"), json.at("buffers")};
}

Json to_json(const MemoryReport& report) {
  return {{"rank", report.rank},
          {"host", report.host},
          {"batch", report.batch},
          {"budget_bytes", report.budget_bytes},
          {"resident", report.resident},
          {"blocks", report.blocks},
          {"predicted",
           {{"device", to_json(report.store.device)},
            {"host", to_json(report.store.host)},
            {"node", to_json(report.store.node)},
            {"data_bytes", report.data_bytes},
            {"step_bytes", report.step_bytes},
            {"from_batches", report.from}}},
          {"measured",
           {{"store_bytes", report.measured_store_bytes},
            {"device_bytes", report.measured_device_bytes},
            {"host_bytes", report.measured_host_bytes}}},
          {"process", {{"bytes", report.process_bytes}, {"peak_resident_bytes", report.peak_resident_bytes}}}};
}

MemoryReport report_from(const Json& json) {
  const Json &predicted = json.at("predicted"), &measured = json.at("measured");
  return {
      .rank = json.at("rank"),
      .host = json.at("host"),
      .batch = json.at("batch"),
      .budget_bytes = json.at("budget_bytes"),
      .resident = json.at("resident"),
      .blocks = json.at("blocks"),
      .store = {parts_from(predicted.at("device")), parts_from(predicted.at("host")), parts_from(predicted.at("node"))},
      .data_bytes = predicted.at("data_bytes"),
      .step_bytes = predicted.at("step_bytes"),
      .from = predicted.at("from_batches"),
      .measured_store_bytes = measured.at("store_bytes"),
      .measured_device_bytes = measured.at("device_bytes"),
      .measured_host_bytes = measured.at("host_bytes"),
      .process_bytes = json.at("process").at("bytes"),
      .peak_resident_bytes = json.at("process").at("peak_resident_bytes")};
}

}  // namespace

MemoryReport report_memory(const model::Model& model, const RankSetup& asked, int rank, int ranks, MemoryBudget& budget,
                           std::int64_t batch) {
  if (batch < 4) throw std::invalid_argument("a memory report of less than 4 samples");
  const RankSetup setup = with_resident_blocks(model, asked, rank, ranks, budget, batch);
  MemoryReport report{.rank = rank,
                      .host = setup.host,
                      .batch = batch,
                      .budget_bytes = setup.memory_bytes,
                      .resident = std::min(setup.strategy.resident.value_or(0), model.blocks.size()),
                      .blocks = model.blocks.size(),
                      .store = parallel::store_memory(model, options_alone(setup, ranks), rank, ranks),
                      .from = {batch / 4, batch / 2},
                      .process_bytes = setup.process_bytes};
  const LimitScope limit(budget, std::max(setup.spare_memory_bytes, setup.memory_bytes), setup.memory_bytes);
  try {
    measure_store(model, setup, ranks, budget, report);
    measure_steps(model, setup, ranks, budget, report);
  } catch (const std::exception& error) {
    if (!is_out_of_memory(error)) throw;
    throw RunError(
        fmt::format("a step of {} samples needs more than the {} this host has for the rank; try a smaller "
                    "--batch",
                    batch, format_size(*budget.limit())));
  }
  report.peak_resident_bytes = process_memory().peak_bytes;
  return report;
}

std::vector<MemoryReport> report_memory_of_ranks(comm::Communicator& communicator, const model::Model& model,
                                                 const RankSetup& setup, MemoryBudget& budget,
                                                 const std::vector<std::int64_t>& batches) {
  const int rank = communicator.rank(), ranks = communicator.size();
  MemoryReport mine;
  comm::agree(communicator, [&] {
    mine = report_memory(model, setup, rank, ranks, budget, value_of_rank(batches, rank, ranks, "--batch"));
  });
  std::vector<MemoryReport> reports;
  for (const std::string& text : comm::all_gather_text(communicator, json_text(to_json(mine))))
    reports.push_back(report_from(Json::parse(text)));
  return reports;
}

Json memory_to_json(const std::vector<MemoryReport>& reports, const std::string& model, const RankSetup& setup) {
  Json json = file_header(model, setup);
  json["ranks"] = Json::array();
  for (const MemoryReport& report : reports) json["ranks"].push_back(to_json(report));
  return json;
}

}  // namespace lshdp::measure
