// Ending a run politely: the first SIGINT, SIGTERM or SIGUSR1 is a wish, the second one kills.
#pragma once

namespace lshdp {

/// From now on the first SIGINT, SIGTERM or SIGUSR1 (which mpirun passes on to its ranks) only makes interrupted()
/// true; after it, each of them does what it does by default.
void watch_interrupts();

/// True once such a signal has come.
bool interrupted();

}  // namespace lshdp
