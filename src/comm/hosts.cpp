// Names, boot ids and namespaces from the kernel, gathered from all ranks.
#include "lshdp/comm/hosts.h"

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include <fmt/format.h>

#include "lshdp/comm/agree.h"
#include "lshdp/core/host.h"

namespace lshdp::comm {
namespace {

namespace fs = std::filesystem;

std::string first_line_of(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

Place parse_place(const std::string& text) {
  std::istringstream lines(text);
  Place place;
  std::getline(lines, place.name);
  std::getline(lines, place.boot);
  std::getline(lines, place.process_namespace);
  return place;
}

std::string number_of(std::size_t count, const char* what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

}  // namespace

Place place_of_this_process() {
  std::error_code none;
  return {host_name(), first_line_of("/proc/sys/kernel/random/boot_id"),
          fs::read_symlink("/proc/self/ns/pid", none).string()};
}

std::vector<std::string> label_keys(const std::vector<std::string>& keys, const std::vector<std::string>& names) {
  std::map<std::string, std::string> label_of;
  std::set<std::string> taken;
  std::vector<std::string> labels;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto [known, fresh] = label_of.emplace(keys[i], names[i]);
    for (int number = 2; fresh && !taken.insert(known->second).second; ++number)
      known->second = fmt::format("{}#{}", names[i], number);
    labels.push_back(known->second);
  }
  return labels;
}

Hosts name_hosts(const std::vector<Place>& places) {
  std::vector<std::string> names, nodes, machines;
  for (const Place& place : places) {
    names.push_back(place.name);
    nodes.push_back(place.boot + '\n' + place.name);
    // A kernel that tells no boot id is told by its host's name.
    machines.push_back(place.boot.empty() ? nodes.back() : place.boot);
  }
  Hosts hosts{label_keys(nodes, names), {}, places};
  hosts.machines = label_keys(machines, hosts.nodes);
  return hosts;
}

Hosts gather_hosts(Communicator& communicator) {
  const Place mine = place_of_this_process();
  std::vector<Place> places;
  for (const std::string& text :
       all_gather_text(communicator, mine.name + '\n' + mine.boot + '\n' + mine.process_namespace))
    places.push_back(parse_place(text));
  return name_hosts(places);
}

std::string describe(const Hosts& hosts) {
  const std::set<std::string> nodes(hosts.nodes.begin(), hosts.nodes.end());
  const std::set<std::string> machines(hosts.machines.begin(), hosts.machines.end());
  std::string text = number_of(hosts.nodes.size(), "rank") + " on " + number_of(nodes.size(), "node");
  if (machines.size() < nodes.size())
    text += fmt::format(" of {}, whose memory and cores they share", number_of(machines.size(), "machine"));
  return text;
}

}  // namespace lshdp::comm
