// Collects a row for each block and gathers those of all ranks.
#include "forward_report.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/comm/agree.h"
#include "lshdp/core/json.h"
#include "lshdp/core/text.h"

namespace lshdp::train {
namespace {

std::string type_text(at::ScalarType type) {
  for (const plan::Precision precision :
       {plan::Precision::fp32, plan::Precision::bf16, plan::Precision::fp16, plan::Precision::fp64}) {
    if (parallel::compute_type(precision) == type) return plan::to_text(precision);
  }
  return type == at::kLong ? "int64" : c10::toString(type);
}

std::string shape_text(const at::Tensor& tensor) {
  return fmt::format("{} {}", fmt::join(tensor.sizes(), " x "), type_text(tensor.scalar_type()));
}

/// The rank that reads what `block` of `rank` gives, where that is another one.
std::optional<std::int64_t> next_rank(const plan::Layout& layout, std::int64_t rank, std::size_t block) {
  const std::optional<std::size_t> replica = plan::replica_of(layout, rank);
  if (!replica) return std::nullopt;
  const std::vector<plan::Stage>& stages = layout.replicas[*replica].stages;
  for (std::size_t stage = 0; stage + 1 < stages.size(); ++stage) {
    if (stages[stage].end == block + 1 && stages[stage].rank == rank) return stages[stage + 1].rank;
  }
  return std::nullopt;
}

}  // namespace

ForwardReport::ForwardReport(const model::Model& model, parallel::BlockWalker& walker)
    : model_(model), walker_(walker) {
  walker_.observe_forward(
      [this](std::size_t block, const at::Tensor& input, const at::Tensor& output) { hear(block, input, output); });
}

ForwardReport::~ForwardReport() { walker_.observe_forward({}); }

void ForwardReport::hear(std::size_t block, const at::Tensor& input, const at::Tensor& output) {
  if (std::ranges::find(rows_, block, &Row::block) != rows_.end()) return;  // of a later micro-batch
  rows_.push_back({.block = block,
                   .name = model_.blocks[block]->name(),
                   .reads = shape_text(input),
                   .gives = shape_text(output),
                   .device = output.device().str(),
                   .bytes = static_cast<std::int64_t>(output.nbytes())});
}

std::string ForwardReport::table(comm::Communicator& communicator, const std::optional<plan::Layout>& layout) const {
  Json mine = Json::array();
  for (const Row& row : rows_) mine.push_back({row.block, row.name, row.reads, row.gives, row.device, row.bytes});
  const std::vector<std::string> all = comm::all_gather_text(communicator, json_text(mine));
  const std::vector<std::string> hosts = comm::all_gather_hosts(communicator);
  if (communicator.rank() != 0) return {};
  Table table({"rank", "host", "device", "block", "name", "reads", "gives", "goes to"});
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    for (const Json& row : Json::parse(all[rank])) {
      const auto block = row[0].get<std::size_t>();
      const std::optional<std::int64_t> next =
          layout ? next_rank(*layout, static_cast<std::int64_t>(rank), block) : std::nullopt;
      table.add({std::to_string(rank), hosts[rank], row[4], std::to_string(block), row[1], row[2], row[3],
                 next ? fmt::format("rank {}, {}", *next, format_size(row[5].get<std::int64_t>())) : ""});
    }
  }
  return "What the blocks read and give in the first micro-batch of each rank\n\n" + table.to_string() + "\n";
}

}  // namespace lshdp::train
