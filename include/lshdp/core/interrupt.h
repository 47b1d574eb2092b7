// Ending a run politely: the first SIGINT, SIGTERM or SIGUSR1 is a wish, one that comes later kills.
#pragma once

namespace lshdp {

/// From now on the first SIGINT, SIGTERM or SIGUSR1 (which mpirun passes on to its ranks) only makes interrupted()
/// true. One that comes more than a second after it does what it does by default; sooner is the same wish (timeout and
/// launchers signal a process and then its group). No thread that is started afterwards is interrupted by them, nor the
/// one that calls this; so call it before any thread that computes is there.
void watch_interrupts();

/// True once such a signal has come.
bool interrupted();

}  // namespace lshdp
