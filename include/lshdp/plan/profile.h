// Profile: what each rank can do, as `lshdp profile` measures it and profile.json keeps it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "lshdp/plan/strategy.h"

namespace lshdp::plan {

/// One micro-batch of `batch` samples takes `seconds` for forward and backward.
struct CurvePoint {
  std::int64_t batch = 0;
  double seconds = 0;
};

/// One block of the model. Bytes of activations are of one sample, on the device.
struct BlockProfile {
  std::string name;
  std::int64_t parameters = 0;                // that it owns and that are trained
  std::int64_t activation_bytes = 0;          // that its forward leaves in memory for backward, its output among them
  std::int64_t output_bytes = 0;              // what the next block reads
  std::vector<std::size_t> shares_with = {};  // earlier blocks of which it uses a parameter (a tied embedding)
  std::int64_t frozen_bytes = 0;              // of its parameters that are not trained, as a rank holds them
  std::int64_t expanded_bytes = 0;            // of those that are held in few bits, as they are used
};

/// Seconds of each block, in the model's order, in one micro-batch of `batch` samples.
struct BlockTimes {
  std::int64_t batch = 0;
  std::vector<double> forward, backward;
};
/// Of all blocks, forward and backward.
double seconds_of(const BlockTimes& times);

/// One all-reduce of `bytes` takes `seconds`.
struct NetworkPoint {
  std::int64_t bytes = 0;
  double seconds = 0;
};

struct NetworkProfile {
  double latency_seconds = 0;
  double bytes_per_second = 0;  // 0: one rank, no network
  // That a rank's core spends per byte it sends and receives, in real steps if there were any.
  double cpu_seconds_per_byte = 0;
  double exposed_factor = 1;        // what the boundary of real steps took, over the all-reduce time of its bytes
  std::vector<NetworkPoint> curve;  // by bytes, rising
  // Single messages between neighbours, all ranks at once, by bytes, rising; empty: not measured.
  std::vector<NetworkPoint> messages = {};
};

/// By what a rank's max_batch is known.
enum class MaxBatchFrom : std::uint8_t {
  measured,   // it was trained, and one sample more did not fit
  estimated,  // drawn from how the peak of smaller batches grows, with a margin: there was no time to train it
  limit,      // it was trained, and no larger one was wanted (--max, --total): more may fit
};
const char* to_text(MaxBatchFrom from);

struct RankProfile {
  int rank = 0;
  std::string host;
  std::string device;             // "cpu" or "cuda:0"
  std::int64_t memory_bytes = 0;  // the budget the probe ran under
  std::int64_t max_batch = 0;     // largest micro-batch that memory allows; 0: the model does not fit
  MaxBatchFrom max_batch_from = MaxBatchFrom::measured;
  int threads = 1;            // that it computes with
  double speed = 1;           // share of a core that --emulate-speed leaves, 1 otherwise
  double cores = 1;           // CPU-seconds a second that the rank got while it computed: its share of the host
  double update_seconds = 0;  // this rank's share of the optimizer's work in one step
  // lsdp: parameters from host memory to the device; 0: the mode copies none, or all stayed there
  double host_link_bytes_per_second = 0;
  double link_bytes_per_second = 0;         // of its own link to the network, each way; 0: not measured
  double update_parameters_per_second = 0;  // of those the rank owns, by the optimizer; 0: not known
  double contention_factor =
      1;  // in real steps, beside transfers, computing took so many times as long as alone: it is in `curve`
  double repeated = 1;  // what the first point of the curve took when timed again after the others, over the curve's
  /// By batch, rising, from 1 to where time ended the measurement: at most max_batch, maybe far below it. Where
  /// max_batch is 0: of the model's blocks timed part by part, for stages; or empty.
  std::vector<CurvePoint> curve;
  std::vector<BlockTimes> block_times = {};  // of the curve's batches, rising; what one point takes, by blocks
};

struct Profile {
  std::string model;
  Strategy strategy;
  std::vector<std::int64_t> data_shape;  // of one sample
  std::int64_t parameter_count = 0;
  std::int64_t gradient_bytes = 0;   // that one step of one micro-batch reduces
  std::int64_t parameter_bytes = 0;  // that one step of one micro-batch gathers
  std::int64_t exposed_bytes =
      0;  // gradients of the first blocks, whose transfer nothing hides (the boundary of the step)
  std::vector<BlockProfile> blocks = {};  // in the model's order
  NetworkProfile network;
  std::vector<RankProfile> ranks;
  std::vector<std::string> disturbed;  // a sentence each: what still contradicted itself when measured twice
};

/// profile.json, version 3. The reader throws UsageError naming the source and key: wrong version, missing ranks, ranks
/// not 0..N-1 in order, curve not rising in batch, negative or non-finite figures, a curve point above a max_batch that
/// is not 0, times of blocks that the profile does not list.
nlohmann::json to_json(const Profile& profile);
Profile profile_from_json(const nlohmann::json& json, const std::string& source);
Profile read_profile(const std::filesystem::path& path);
void write_profile(const std::filesystem::path& path, const Profile& profile);

}  // namespace lshdp::plan
