// Where ranks run, by what their kernels say: machines may share a name, and one machine may have several.
#pragma once
#include <string>
#include <vector>

#include "lshdp/comm/communicator.h"

namespace lshdp::comm {

/// What tells where a process runs.
struct Place {
  std::string name;               // the host's
  std::string boot;               // the boot id of the kernel: its processes share memory and cores
  std::string process_namespace;  // processes of one namespace see each other
};
Place place_of_this_process();

/// Where every rank runs. Ranks of one kernel and one host name share a node; nodes of one kernel share a machine. So
/// containers, or emulated nodes, that have host names of their own are nodes of one machine.
struct Hosts {
  std::vector<std::string> nodes;     // by rank: the host's name, or NAME#2 on another machine of the same name
  std::vector<std::string> machines;  // by rank: the name of the machine's first node
  std::vector<Place> places;          // by rank
};
Hosts name_hosts(const std::vector<Place>& places);

/// All ranks must call it.
Hosts gather_hosts(Communicator& communicator);

/// "4 ranks on 2 nodes", and how many machines these are, where they are fewer.
std::string describe(const Hosts& hosts);

/// A label for each key, equal where keys are: the first name that comes with the key, or NAME#2 and so on where
/// another key has that label already.
std::vector<std::string> label_keys(const std::vector<std::string>& keys, const std::vector<std::string>& names);

}  // namespace lshdp::comm
