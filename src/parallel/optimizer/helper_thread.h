// Threads that help the one that computes.
#pragma once
#include <functional>
#include <thread>

#include "lshdp/core/device.h"

namespace lshdp::parallel {

/// A thread whose tensor operations have a team of `threads`, itself among them; with one they stay on it. LibTorch
/// would give each thread that computes a team of as many threads as the rank has: they would take turns with the team
/// of the one that computes, which waits spinning.
std::thread start_helper(std::function<void()> work, int threads = 1);

/// Threads for what a helper computes on the host: where the rank computes on a device apart, all of the rank's but the
/// one that drives the device; otherwise one. Called by the thread that makes the helper.
int host_team(const ComputeDevice& device);

}  // namespace lshdp::parallel
