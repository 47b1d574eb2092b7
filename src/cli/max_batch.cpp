// lshdp max-batch: the largest micro-batch of each rank, as a table and in max_batch.json.
#include "lshdp/measure/max_batch.h"

#include <fmt/format.h>

#include "lshdp/cli/command.h"
#include "lshdp/cli/mpi_command.h"
#include "lshdp/cli/options.h"
#include "lshdp/comm/agree.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/core/output.h"
#include "lshdp/core/text.h"
#include "lshdp/measure/host_room.h"
#include "model_option.h"
#include "rank_options.h"

namespace lshdp::cli {

Options max_batch_options() {
  Options options("max-batch", "Finds the largest micro-batch of each rank by training under its memory budget.",
                  "mpirun -np 4 lshdp max-batch --model vit_b_16 --memory 8GiB,8GiB,4GiB,2GiB");
  add_model_options(options);
  add_packing_option(options);
  add_rank_options(options);
  options.option("max", "B", "try no larger batch", "4096")
      .option("out", "FILE", "where to write the result", "max_batch.json");
  return options;
}

namespace {

std::string limit_for_people(const measure::MaxBatchResult& result) {
  switch (result.limited_by) {
    case measure::LimitedBy::memory:
      return "memory";
    case measure::LimitedBy::largest:
      return "--max";
    case measure::LimitedBy::time:
      return fmt::format("time: estimated, tried up to {}", result.tried);
  }
  return "";
}

std::string table_of(const std::vector<measure::MaxBatchResult>& results) {
  Table table({"rank", "host", "memory", "max batch", "peak", "resident", "limited by"});
  for (const auto& result : results) {
    const bool fits = result.max_batch > 0;
    const std::string needs = fmt::format("memory: one sample needs {}{}", result.needs_more ? "more than " : "",
                                          format_size(result.needed_bytes));
    table.add({std::to_string(result.rank), result.host, format_size(result.memory_bytes),
               std::to_string(result.max_batch), fits ? format_size(result.peak_bytes) : "-",
               fits ? std::to_string(result.resident) : "-", fits ? limit_for_people(result) : needs});
  }
  return table.to_string();
}

void write_result(comm::Communicator& communicator, const std::vector<measure::MaxBatchResult>& results,
                  const std::string& model, const measure::RankSetup& setup, const std::string& path) {
  comm::on_rank_0(communicator, [&]() -> std::string {
    write_json(path, measure::max_batch_to_json(results, model, setup));
    print_output(table_of(results));
    return "";
  });
}

}  // namespace

int run_max_batch(const Arguments& arguments) {
  const Values values = max_batch_options().parse(arguments);
  if (values.help()) return 0;
  const measure::RankRequest request = rank_request(values);
  const measure::MaxBatchOptions options{.largest = values.integer("max", 1)};
  return with_ranks("max-batch", values, [&](comm::Communicator& communicator) {
    const model::Model model = shared_packed_model(communicator, values);
    NewFolders folders;
    comm::on_rank_0(communicator, [&]() -> std::string {
      refuse_overwriting("--out", values.text("out"), {values.text("model")});
      folders = require_writable_file(values.text("out"), "--out");
      return "";
    });
    const measure::RankSetup setup = measure::set_up_rank(communicator, request);
    measure::require_host_room(communicator, model, setup, /*alone=*/true);
    MemoryBudget budget(*setup.compute_device);
    const auto results = measure::probe_max_batches(communicator, model, setup, budget, options);
    write_result(communicator, results, model.name, setup, values.text("out"));
    comm::agree(communicator, [&] { measure::require_fit_somewhere(results, model.name, setup); });
  });
}

}  // namespace lshdp::cli
