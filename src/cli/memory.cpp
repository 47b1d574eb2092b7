// lshdp memory: what each rank's memory goes to, predicted and measured.
#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/cli/command.h"
#include "lshdp/cli/mpi_command.h"
#include "lshdp/cli/options.h"
#include "lshdp/comm/agree.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/core/output.h"
#include "lshdp/core/text.h"
#include "lshdp/measure/host_room.h"
#include "lshdp/measure/memory_report.h"
#include "model_option.h"
#include "rank_options.h"

namespace lshdp::cli {
namespace {

constexpr std::int64_t kMinBatch = 4;

}  // namespace

Options memory_options() {
  Options options("memory", "Shows what each rank's memory goes to, predicted and measured.",
                  "mpirun -np 4 lshdp memory --model gpt2 --mode lsdp --batch 8");
  add_model_options(options);
  add_packing_option(options);
  add_rank_options(options);
  options.option("batch", "B,..", fmt::format("samples of a micro-batch, at least {}", kMinBatch), "8")
      .option("out", "FILE", "also write the figures to FILE")
      .per_rank({"batch"});
  return options;
}

namespace {

std::string size_or_dash(std::int64_t bytes) { return bytes == 0 ? "-" : format_size(bytes); }

std::string error_text(std::int64_t predicted, std::int64_t measured) {
  if (measured == 0) return "-";
  return fmt::format("{:+.1f} %", 100 * (static_cast<double>(predicted) / static_cast<double>(measured) - 1));
}

/// One rank's table, but for the line that names it.
std::string table_of(const measure::MemoryReport& report) {
  const parallel::MemoryParts &device = report.store.device, &host = report.store.host, &node = report.store.node;
  Table table({"", "device", "host", "shared by its node"});
  const auto part = [&](const char* name, std::int64_t parallel::MemoryParts::*bytes) {
    table.add({name, size_or_dash(device.*bytes), size_or_dash(host.*bytes), size_or_dash(node.*bytes)});
  };
  part("parameters", &parallel::MemoryParts::parameters);
  part("gradients", &parallel::MemoryParts::gradients);
  part("moments", &parallel::MemoryParts::moments);
  part("buffers", &parallel::MemoryParts::buffers);
  table.add({"data", size_or_dash(report.data_bytes), "-", "-"});
  table.add({fmt::format("a step (from {} and {} samples)", report.from[0], report.from[1]),
             size_or_dash(report.step_bytes), "-", "-"});
  table.add({"predicted", format_size(report.predicted_device_bytes()), size_or_dash(host.total()),
             size_or_dash(node.total())});
  table.add({"measured", format_size(report.measured_device_bytes),
             report.measured_host_bytes == 0
                 ? "-"
                 : fmt::format("{} with its node's", format_size(report.measured_host_bytes)),
             ""});
  table.add({"error", error_text(report.predicted_device_bytes(), report.measured_device_bytes),
             error_text(report.predicted_host_bytes(), report.measured_host_bytes), ""});
  return table.to_string();
}

std::string budget_text(const measure::MemoryReport& report, bool streams) {
  const bool fits = report.measured_device_bytes <= report.budget_bytes;
  std::string text = fmt::format("micro-batch of {}, {} the {} budget", report.batch, fits ? "within" : "over",
                                 format_size(report.budget_bytes));
  if (streams) text += fmt::format("; {} of {} blocks stay on the device (--resident)", report.resident, report.blocks);
  return text;
}

/// Ranks with the same figures are shown once.
std::string text_of(const std::vector<measure::MemoryReport>& reports, bool streams) {
  std::vector<std::pair<std::vector<std::string>, std::string>> shown;
  for (const measure::MemoryReport& report : reports) {
    const std::string name = fmt::format("{} ({})", report.rank, report.host);
    const std::string text = fmt::format(": {}\n{}", budget_text(report, streams), table_of(report));
    if (!shown.empty() && shown.back().second == text)
      shown.back().first.push_back(name);
    else
      shown.push_back({{name}, text});
  }
  std::string all;
  for (const auto& [names, text] : shown) all += fmt::format("rank {}{}\n", fmt::join(names, ", "), text);
  std::int64_t process = 0, resident = 0;
  for (const measure::MemoryReport& report : reports) {
    process = std::max(process, report.process_bytes);
    resident = std::max(resident, report.peak_resident_bytes);
  }
  return all + fmt::format(
                   "beside tensors a process takes about {} (program, libraries, MPI); resident at most {} in this "
                   "measurement\n",
                   format_size(process), format_size(resident));
}

}  // namespace

int run_memory(const Arguments& arguments) {
  const Values values = memory_options().parse(arguments);
  if (values.help()) return 0;
  const measure::RankRequest request = rank_request(values);
  const std::vector<std::int64_t> batches = values.integers("batch", kMinBatch);
  return with_ranks("memory", values, [&](comm::Communicator& communicator) {
    const model::Model model = shared_packed_model(communicator, values);
    NewFolders folders;
    comm::on_rank_0(communicator, [&]() -> std::string {
      if (!values.has("out")) return "";
      refuse_overwriting("--out", values.text("out"), {values.text("model")});
      folders = require_writable_file(values.text("out"), "--out");
      return "";
    });
    const measure::RankSetup setup = measure::set_up_rank(communicator, request);
    measure::require_host_room(communicator, model, setup, /*alone=*/true);
    MemoryBudget budget(*setup.compute_device);
    const auto reports = measure::report_memory_of_ranks(communicator, model, setup, budget, batches);
    comm::on_rank_0(communicator, [&]() -> std::string {
      if (values.has("out")) write_json(values.text("out"), measure::memory_to_json(reports, model.name, setup));
      print_output(text_of(reports, plan::traits_of(setup.strategy.mode).shares_node_memory));
      return "";
    });
  });
}

}  // namespace lshdp::cli
