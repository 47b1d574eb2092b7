// CPU time of machines, interrupts included: threads' clocks charge those to whomever they interrupt, idle cores' to
// nobody.
#pragma once
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include <unistd.h>

#include "lshdp/comm/agree.h"
#include "lshdp/core/clock.h"
#include "lshdp/core/error.h"

namespace lshdp {

/// Seconds of all of this machine's cores that were neither idle nor taken by a virtual machine's host, since an
/// arbitrary point; to a hundredth of a second for each core. Throws RunError where /proc/stat does not tell.
inline double machine_busy_seconds() {
  std::ifstream file("/proc/stat");
  double not_busy = 0;
  int cores = 0;
  for (std::string line; std::getline(file, line) && line.starts_with("cpu");) {
    std::istringstream words(line);
    std::string name;
    double user = 0, nice = 0, system = 0, idle = 0, waiting = 0, interrupts = 0, soft_interrupts = 0, stolen = 0;
    words >> name >> user >> nice >> system >> idle >> waiting >> interrupts >> soft_interrupts >> stolen;
    if (name == "cpu") continue;  // the sum, rounded anew
    not_busy += idle + waiting + stolen;
    ++cores;
  }
  if (cores == 0) throw RunError("/proc/stat names no cores: the CPU time of the machine is not known");
  return cores * now_seconds() - not_busy / static_cast<double>(sysconf(_SC_CLK_TCK));
}

/// The same of all machines that ranks run on, each counted once. All ranks must call it.
inline double busy_seconds_of_machines(comm::Communicator& communicator) {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string boot;  // network namespaces of one machine have it in common, their host names differ
  std::getline(file, boot);
  const auto boots = comm::all_gather_text(communicator, boot);
  const auto busy = comm::all_gather_values(communicator, machine_busy_seconds());
  std::set<std::string> counted;
  double sum = 0;
  for (std::size_t rank = 0; rank < boots.size(); ++rank) {
    if (counted.insert(boots[rank]).second) sum += busy[rank];
  }
  return sum;
}

}  // namespace lshdp
