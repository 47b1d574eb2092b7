// Finds the constants of explore's times and memory on the published runs that are there for it.
//
// calibrate_explore [DATA CONFIGS]: prints the constants that are in the presets and in Efficiency, those that fit the
// calibration part best, and the errors of both on both parts. It writes nothing.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "lshdp/core/text.h"
#include "published_runs.h"

namespace {

using namespace lshdp::explore;
using test::PublishedRun;

/// What is searched: shares of a device's peak, by architecture, and the rest.
struct Constants {
  std::map<std::string, double> values;
};

std::string architecture_of(const PublishedRun& run) { return run.device.substr(0, run.device.find('-')); }

Constants constants_of(const std::vector<PublishedRun>& runs) {
  const Efficiency efficiency;
  Constants constants{{{"half_size", efficiency.half_size},
                       {"memory", efficiency.memory},
                       {"link", efficiency.link},
                       {"launch_seconds", efficiency.launch_seconds}}};
  for (const PublishedRun& run : runs) {
    constants.values["matmul_share " + architecture_of(run)] = run.settings.device->matmul_share;
    constants.values["attention_share " + architecture_of(run)] = run.settings.device->attention_share;
  }
  return constants;
}

Hardware hardware_of(const PublishedRun& run, const Constants& constants) {
  Hardware hardware = *run.settings.hardware();
  hardware.device.matmul_share = constants.values.at("matmul_share " + architecture_of(run));
  hardware.device.attention_share = constants.values.at("attention_share " + architecture_of(run));
  hardware.efficiency.half_size = constants.values.at("half_size");
  hardware.efficiency.memory = constants.values.at("memory");
  hardware.efficiency.link = constants.values.at("link");
  hardware.efficiency.launch_seconds = constants.values.at("launch_seconds");
  return hardware;
}

/// Mean over sources of the mean error of each, so that a source with many runs does not decide alone.
double loss(const std::vector<PublishedRun>& runs, const Constants& constants) {
  std::map<std::string, std::vector<double>> errors;
  for (const PublishedRun& run : runs) {
    if (!run.calibration || run.step_seconds == 0) continue;
    errors[run.source].push_back(std::log1p(time_error(run, hardware_of(run, constants))));
  }
  double sum = 0;
  for (const auto& [source, of] : errors) sum += test::summary_of(of).mean;
  return sum / static_cast<double>(errors.size());
}

/// Largest value that a constant may take: shares stay below 1.
double most_of(const std::string& name) {
  if (name == "half_size") return 1000;
  if (name == "launch_seconds") return 1e-5;
  return name.starts_with("matmul") ? 0.95 : 0.9;
}

/// Coordinate descent by factors that shrink.
Constants calibrated(const std::vector<PublishedRun>& runs, Constants constants) {
  double best = loss(runs, constants);
  for (double step = 0.2; step > 0.002; step /= 2) {
    for (bool better = true; better;) {
      better = false;
      for (auto& [name, value] : constants.values) {
        for (const double factor : {1 + step, 1 / (1 + step)}) {
          const double before = value;
          value = std::min(value * factor, most_of(name));
          const double now = loss(runs, constants);
          if (now < best - 1e-6) {
            best = now;
            better = true;
          } else {
            value = before;
          }
        }
      }
    }
  }
  return constants;
}

void print(const std::vector<PublishedRun>& runs, const Constants& constants, const char* title) {
  fmt::print("{}\n", title);
  for (const auto& [name, value] : constants.values) fmt::print("  {} {:.4g}\n", name, value);
  std::map<std::pair<std::string, bool>, std::vector<double>> times, memories;
  for (const PublishedRun& run : runs) {
    for (const std::string& source : {run.source, std::string("all")}) {
      if (run.step_seconds > 0)
        times[{source, run.calibration}].push_back(time_error(run, hardware_of(run, constants)));
      if (run.memory_gib > 0) memories[{source, run.calibration}].push_back(memory_error(run));
    }
  }
  lshdp::Table table({"source", "part", "what", "runs", "mean error", "worst", "mean with its sign"});
  for (const auto* errors : {&times, &memories}) {
    for (const auto& [group, of] : *errors) {
      const test::ErrorSummary summary = test::summary_of(of);
      double sum = 0;
      for (const double error : of) sum += error;
      table.add({group.first, group.second ? "calibration" : "held-out", errors == &times ? "time" : "memory",
                 std::to_string(summary.runs), fmt::format("{:.1f} %", 100 * summary.mean),
                 fmt::format("{:.1f} %", 100 * summary.worst),
                 fmt::format("{:+.1f} %", 100 * sum / static_cast<double>(summary.runs))});
    }
  }
  fmt::print("{}\n", table.to_string());
}

/// With these constants in place of those of the framework's preset.
PublishedRun with_memory(PublishedRun run, double communicator_gib, double fragmentation) {
  run.settings.trainer.framework.communicator_gib = communicator_gib;
  run.settings.trainer.framework.fragmentation = fragmentation;
  return run;
}

/// The least mean error over a grid of steps of 0.05 GiB a communicator and of 0.05 of margin: finer is noise.
void print_memory(const std::vector<PublishedRun>& runs) {
  constexpr int kCommunicators = 40, kFragmentations = 10;
  constexpr double kStep = 0.05;
  double best = 1e9, communicator = 0, fragmentation = 0;
  for (int i = 0; i <= kCommunicators * kFragmentations; ++i) {
    const double gib = kStep * (i % kCommunicators), share = kStep * (i / kCommunicators);
    std::vector<double> errors;
    for (const PublishedRun& run : runs) {
      if (run.calibration && run.memory_gib > 0) errors.push_back(memory_error(with_memory(run, gib, share)));
    }
    if (const double mean = test::summary_of(errors).mean; mean < best) {
      best = mean;
      communicator = gib;
      fragmentation = share;
    }
  }
  fmt::print(
      "Of memory, found on the calibration part (mean error {:.1f} %)\n  communicator_gib {:.2f}\n"
      "  fragmentation {:.2f}\n",
      100 * best, communicator, fragmentation);
}

}  // namespace

int main(int count, char** arguments) {
  const std::string data = count > 2 ? arguments[1] : LSHDP_PUBLISHED_DATA;
  const std::string configs = count > 2 ? arguments[2] : LSHDP_CONFIGS;
  std::vector<PublishedRun> runs = test::read_published_runs(data, configs);
  std::vector<PublishedRun> offloading = runs;
  const auto offloads = [](const PublishedRun& run) { return run.layout.offload != Offload::none; };
  std::erase_if(runs, offloads);
  std::erase_if(offloading, [&](const PublishedRun& run) { return !offloads(run); });
  const Constants constants = constants_of(runs);
  print(runs, constants, "As they are");
  print(runs, calibrated(runs, constants), "Found on the calibration part");
  print_memory(runs);
  // No constant was found on these.
  print(offloading, constants_of(offloading), "With offload");
  return 0;
}
