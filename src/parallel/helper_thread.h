// Threads that help the one that computes.
#pragma once
#include <functional>
#include <thread>

namespace lshdp::parallel {

/// A thread whose tensor operations stay on it. LibTorch would give each thread that computes a team of as many threads
/// as the rank has: they would take turns with the team of the one that computes, which waits spinning.
std::thread start_helper(std::function<void()> work);

}  // namespace lshdp::parallel
