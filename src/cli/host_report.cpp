// Reports as JSON between ranks, and their comparison.
#include "host_report.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/comm/agree.h"
#include "lshdp/comm/mpi_communicator.h"
#include "lshdp/core/cuda.h"
#include "lshdp/core/device.h"
#include "lshdp/core/json.h"
#include "lshdp/measure/machine_share.h"
#include "lshdp/train/library_versions.h"

namespace lshdp::cli {
namespace {

constexpr double kClockTolerance = 2;

double seconds_of_day() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string devices_here() {
  std::vector<std::string> devices;
  for (int index = 0; index < cuda_device_count(); ++index) devices.push_back(make_cuda_device(index)->description());
  return devices.empty() ? "cpu" : fmt::format("{}", fmt::join(devices, ", "));
}

std::string to_text(const HostReport& report) {
  return json_text({{"version", report.program.version},
                    {"sources", report.program.sources},
                    {"build", report.program.build},
                    {"executable", report.executable},
                    {"libraries", report.libraries},
                    {"devices", report.devices},
                    {"own_cores", report.own_cores},
                    {"allowed_cores", report.allowed_cores},
                    {"free_memory", report.free_memory},
                    {"interfaces", comm::to_text(report.interfaces)}});
}

HostReport parse_report(const std::string& text) {
  const Json json = Json::parse(text);
  HostReport report;
  report.program = {json["version"], json["sources"], json["build"]};
  report.executable = json["executable"];
  report.libraries = json["libraries"].get<comm::Facts>();
  report.devices = json["devices"];
  report.own_cores = json["own_cores"];
  report.allowed_cores = json["allowed_cores"];
  report.free_memory = json["free_memory"];
  report.interfaces = comm::interfaces_from_text(json["interfaces"]);
  return report;
}

HostReport own_report() {
  HostReport report;
  report.program = this_program();
  report.executable = executable_checksum();
  report.libraries = train::library_versions();
  report.libraries.emplace_back("MPI", comm::mpi_version());
  report.devices = devices_here();
  report.own_cores = static_cast<int>(measure::own_cores().size());
  report.allowed_cores = measure::allowed_cores();
  report.free_memory = measure::available_host_memory();
  report.interfaces = comm::own_interfaces();
  return report;
}

void add(std::vector<std::string>& problems, const std::vector<std::string>& more, const std::string& remedy) {
  for (const std::string& problem : more) problems.push_back(problem + remedy);
}

/// Executables that should be alike to the byte and are not.
void compare_executables(const std::vector<HostReport>& reports, const std::vector<std::string>& nodes,
                         std::vector<std::string>& problems) {
  const auto of_first = [&](const auto& member) {
    return std::ranges::all_of(reports,
                               [&](const HostReport& report) { return member(report) == member(reports.front()); });
  };
  if (!of_first([](const HostReport& report) { return report.program.sources + report.program.build; })) return;
  std::vector<comm::Facts> facts;
  for (const HostReport& report : reports) facts.push_back({{"the executable", report.executable}});
  add(problems, comm::differences(facts, nodes), ", though built alike from the same sources: copy one to all nodes");
}

void find_bound_ranks(const std::vector<HostReport>& reports, std::vector<std::string>& problems) {
  for (std::size_t rank = 0; rank < reports.size(); ++rank) {
    const HostReport& report = reports[rank];
    const bool crowded = report.threads > report.own_cores;
    if (!crowded && (report.own_cores > 1 || report.node_cores >= report.allowed_cores)) continue;
    problems.push_back(fmt::format("rank {} ({}) is bound to {} of {} cores{}: start mpirun with --bind-to none", rank,
                                   report.node, report.own_cores, report.allowed_cores,
                                   crowded ? fmt::format(" and takes {} threads", report.threads) : ""));
  }
}

void compare_clocks(const std::vector<HostReport>& reports, std::vector<std::string>& problems) {
  std::set<std::string> told;
  for (const HostReport& report : reports) {
    const double ahead = report.clock_seconds - reports.front().clock_seconds;
    if (std::abs(ahead) < kClockTolerance || !told.insert(report.node).second) continue;
    problems.push_back(fmt::format("the clock of {} is {:.0f} s {} that of {}: set both by NTP", report.node,
                                   std::abs(ahead), ahead > 0 ? "ahead of" : "behind", reports.front().node));
  }
}

/// An address that several nodes have: what Open MPI sends there comes back to its sender.
void find_same_addresses(const std::vector<HostReport>& reports, std::vector<std::string>& problems) {
  std::set<std::string> told;
  for (const HostReport& a : reports) {
    for (const HostReport& b : reports) {
      if (a.node == b.node || a.interfaces == b.interfaces) continue;
      for (const comm::Interface& interface : comm::same_addresses(a.interfaces, b.interfaces)) {
        if (!told.insert(comm::to_text({interface})).second) continue;
        const std::vector<std::string> networks = comm::common_networks(a.interfaces, b.interfaces);
        problems.push_back(
            fmt::format("{} and {} both have {}: choose the network with mpirun --mca btl_tcp_if_include {}", a.node,
                        b.node, comm::to_text({interface}), networks.empty() ? "NETWORK" : networks.front()));
      }
    }
  }
}

}  // namespace

std::vector<HostReport> gather_reports(comm::Communicator& communicator) {
  const comm::Hosts hosts = comm::gather_hosts(communicator);
  const std::vector<measure::RankRoom> rooms = measure::gather_rooms(communicator, hosts, true);
  HostReport mine;
  comm::agree(communicator, [&] { mine = own_report(); });
  std::vector<HostReport> reports;
  for (const std::string& text : comm::all_gather_text(communicator, to_text(mine)))
    reports.push_back(parse_report(text));
  communicator.barrier();
  const double now = seconds_of_day();
  const std::vector<double> clocks = comm::all_gather_values(communicator, now);
  const auto threads =
      comm::all_gather_values(communicator, measure::threads_of_environment().value_or(measure::core_share(
                                                rooms, static_cast<std::size_t>(communicator.rank()))));
  for (std::size_t rank = 0; rank < reports.size(); ++rank) {
    reports[rank].node = hosts.nodes[rank];
    reports[rank].machine = hosts.machines[rank];
    reports[rank].clock_seconds = clocks[rank];
    reports[rank].threads = static_cast<int>(threads[rank]);
    reports[rank].node_cores = measure::bound_cores(rooms, rank);
  }
  return reports;
}

std::vector<std::string> problems_of(const std::vector<HostReport>& reports, bool network_chosen) {
  std::vector<std::string> nodes, problems;
  std::vector<comm::Facts> programs, libraries;
  for (const HostReport& report : reports) {
    nodes.push_back(report.node);
    programs.push_back(
        {{"the program", fmt::format("{} (sources {})", report.program.version, report.program.sources)}});
    libraries.push_back(report.libraries);
  }
  add(problems, comm::differences(programs, nodes), "; build one version on all nodes");
  add(problems, comm::differences(libraries, nodes), "; install one version on all nodes");
  compare_executables(reports, nodes, problems);
  find_bound_ranks(reports, problems);
  compare_clocks(reports, problems);
  if (!network_chosen) find_same_addresses(reports, problems);
  return problems;
}

bool network_is_chosen() {
  const std::array names{"OMPI_MCA_btl_tcp_if_include", "OMPI_MCA_btl_tcp_if_exclude"};
  return std::ranges::any_of(names, [](const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr && *value != '\0';
  });
}

}  // namespace lshdp::cli
