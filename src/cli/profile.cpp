// lshdp profile: what each rank and the network can do, as a table and in profile.json.
#include "lshdp/measure/profile.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/cli/command.h"
#include "lshdp/cli/mpi_command.h"
#include "lshdp/cli/options.h"
#include "lshdp/comm/agree.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/output.h"
#include "lshdp/core/text.h"
#include "lshdp/measure/host_room.h"
#include "lshdp/plan/describe.h"
#include "lshdp/plan/link_shares.h"
#include "lshdp/plan/transfer_sizes.h"
#include "lshdp/train/data_fit.h"
#include "lshdp/train/evaluate.h"
#include "model_option.h"
#include "rank_options.h"

namespace lshdp::cli {

Options profile_options() {
  Options options("profile", "Measures the memory, compute and network of all ranks, for lshdp optimize.",
                  "mpirun -np 4 lshdp profile --model vit.json --data D.h5 --total 128 --out profile.json");
  add_model_options(options);
  add_rank_options(options);
  add_communicator_option(options);
  options.option("data", "FILE", "a data set that must fit the model")
      .option("total", "B", "samples a step, if known: no rank is measured beyond")
      .option("max", "B", "measure no larger micro-batch", "4096")
      .option("curve-seconds", "S", "about how long to measure compute (default: 20 to 100, by what a batch takes)")
      .option("out", "FILE", "where to write the profile", "profile.json");
  return options;
}

namespace {

/// Opens the data set only to see that it serves the model.
void check_data(const std::string& path, const model::Model& model, std::int64_t total) {
  const auto dataset = train::open_for_model(path, model);
  if (total > dataset->size()) {
    throw UsageError(fmt::format("--total: {} is more than the {} samples of {}", total, dataset->size(), path));
  }
}

/// The point of a curve with the most samples per second.
plan::CurvePoint best_point(const plan::RankProfile& rank) {
  return *std::ranges::max_element(
      rank.curve, {}, [](const plan::CurvePoint& point) { return static_cast<double>(point.batch) / point.seconds; });
}

std::string table_of(const plan::Profile& profile) {
  Table table({"rank", "host", "speed", "memory", "max batch", "timed to", "samples/s", "at batch", "update"});
  for (const plan::RankProfile& rank : profile.ranks) {
    std::vector<std::string> row = {
        std::to_string(rank.rank),         rank.host,
        fmt::format("{:.3g}", rank.speed), format_size(rank.memory_bytes),
        plan::describe_max_batch(rank),    rank.curve.empty() ? "-" : std::to_string(rank.curve.back().batch)};
    if (rank.curve.empty()) {
      row.insert(row.end(), {"-", "-", "-"});
    } else {
      const plan::CurvePoint best = best_point(rank);
      row.insert(row.end(), {fmt::format("{:.4g}", static_cast<double>(best.batch) / best.seconds),
                             std::to_string(best.batch), format_seconds(rank.update_seconds)});
    }
    table.add(std::move(row));
  }
  return table.to_string();
}

std::string network_line(const plan::NetworkProfile& network) {
  if (network.bytes_per_second == 0) return "network: none (one rank)\n";
  return fmt::format("network: latency {}, {}/s, {} of CPU per GB\n", format_seconds(network.latency_seconds),
                     format_size(static_cast<std::int64_t>(network.bytes_per_second)),
                     format_seconds(network.cpu_seconds_per_byte * 1e9));
}

/// The sizes that follow from it.
std::string sizes_line(const plan::Profile& profile) {
  const auto sizes = plan::transfer_sizes(profile);
  return sizes ? fmt::format("sizes in flight for it: {}\n", plan::describe(*sizes)) : "";
}

/// Each rank's own link, where they were measured.
std::string links_line(const plan::Profile& profile) {
  std::vector<double> rates;
  std::vector<std::string> texts;
  for (const plan::RankProfile& rank : profile.ranks) {
    rates.push_back(rank.link_bytes_per_second);
    texts.push_back(format_size(static_cast<std::int64_t>(rank.link_bytes_per_second)));
  }
  if (std::ranges::max(rates) <= 0) return "";
  return fmt::format("links by rank, in a second: {}{}\n", fmt::join(texts, ", "),
                     plan::relative_links(rates).empty() ? " (alike)" : " (they differ: a slow one can carry less)");
}

/// What the parts measured alone did not tell.
std::string load_line(const plan::Profile& profile) {
  if (profile.network.bytes_per_second == 0) return "";
  std::vector<std::string> loads;
  for (const plan::RankProfile& rank : profile.ranks) loads.push_back(fmt::format("{:.2f}", rank.contention_factor));
  return fmt::format("in steps of all ranks together: computing {}, the boundary {:.2f} times as long as alone\n",
                     fmt::join(loads, " "), profile.network.exposed_factor);
}

void write_result(comm::Communicator& communicator, const plan::Profile& profile, const std::string& path) {
  comm::on_rank_0(communicator, [&]() -> std::string {
    plan::write_profile(path, profile);
    print_output("{}{}{}{}{}written to {}\n", table_of(profile), network_line(profile.network), sizes_line(profile),
                 links_line(profile), load_line(profile), path);
    return "";
  });
}

}  // namespace

int run_profile(const Arguments& arguments) {
  const Values values = profile_options().parse(arguments);
  if (values.help()) return 0;
  const measure::RankRequest request = rank_request(values);
  const std::string way = communicator_request(values);
  measure::ProfileOptions options{
      .total = values.has("total") ? values.integer("total", 1) : 0,
      .largest_batch = values.integer("max", 1),
      .curve_seconds = values.has("curve-seconds") ? values.real("curve-seconds", 0.1, 3600) : 0,
      .show_progress = true};
  return with_ranks("profile", values, [&](comm::Communicator& communicator) {
    model::Model model = shared_model(communicator, values);
    comm::agree(communicator, [&] {
      if (!values.has("data")) return;
      check_data(values.text("data"), model, options.total);
      model.input.documents = train::hold_documents({values.text("data")});
    });
    NewFolders folders;
    comm::on_rank_0(communicator, [&]() -> std::string {
      refuse_overwriting("--out", values.text("out"),
                         {values.text("model"), values.has("data") ? values.text("data") : ""});
      folders = require_writable_file(values.text("out"), "--out");
      return "";
    });
    const measure::RankSetup setup = measure::set_up_rank(communicator, request);
    options.in_parts = plan::traits_of(setup.strategy.mode).replicates && communicator.size() > 1;
    measure::require_host_room(communicator, model, setup, /*alone=*/true);
    const auto between_devices = measure::make_device_communicator(communicator, way, setup);
    MemoryBudget budget(*setup.compute_device);
    write_result(
        communicator,
        measure::measure_profile(between_devices ? *between_devices : communicator, model, setup, budget, options),
        values.text("out"));
  });
}

}  // namespace lshdp::cli
