// The machines whose step times are computed: a kind of device, the links between devices, and how much of either is
// reached.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "lshdp/explore/trainer.h"

namespace lshdp::explore {

/// Seconds that the parts of a model took in a micro-batch, without recomputation, each on one device as a whole.
struct LayerTimes {
  struct Passes {
    double forward = 0, backward = 0;
  };
  double micro_batch = 0;                        // sequences
  Passes embedding = {}, layer = {}, head = {};  // a layer is the mean of all
};

/// What `lshdp profile` timed part by part, and of which model.
struct ProfiledLayers {
  std::int64_t parameters = 0, num_layers = 0, seq_length = 0;
  std::vector<LayerTimes> times = {};  // by micro-batch, rising; empty: nothing is known

  /// Between two micro-batches on a line; beyond the largest in proportion, below the smallest as well.
  LayerTimes at(double micro_batch) const;
};

/// A kind of accelerator. Times need the peak of the type that is trained in, and the bandwidth; 0: not given.
struct Device {
  std::string name = {};
  std::int64_t memory_bytes = 0;  // that its driver reports
  double float16_flops = 0;       // floating-point operations a second at most, dense matrices, 16-bit
  double float32_flops = 0;       // the same of float32
  double memory_bandwidth = 0;    // bytes a second, read and written
  /// Of the peak that large matrix products reach, and that attention reaches; calibrated where a preset says so.
  double matmul_share = 0.745;
  double attention_share = 0.312;
  double price_per_hour = 0;            // of one device, in any currency; 0: not given
  double host_link = 0;                 // bytes a second to the host, and as many back; 0: not given
  ProfiledLayers profiled_layers = {};  // of the model that is searched

  double peak_flops(DataType type) const { return type == DataType::float16 ? float16_flops : float32_flops; }
};

/// What one device sends, and at the same time receives.
struct Link {
  double bytes_per_second = 0;
  double latency_seconds = 0;  // of one message
};

/// Whole nodes of one kind of device, in a cluster of several kinds.
struct DeviceType {
  std::string name = {};  // of the key in the configuration
  Device device = {};
  std::int64_t devices = 0;
};

/// Nodes of alike devices, or of several types. Each device has its own share of its node's network.
struct Cluster {
  std::string name = {};
  std::int64_t devices_per_node = 8;
  Link within_node = {};
  Link between_nodes = {};
  std::vector<DeviceType> types = {};  // empty: all devices are alike
  // Of a node, for what is in host memory; 0: not given.
  std::int64_t host_memory_bytes = 0;
  double host_memory_bandwidth = 0;        // bytes a second, read and written
  std::int64_t devices_per_host_link = 1;  // neighbours that share one way to the host

  bool is_mixed() const { return !types.empty(); }
};

/// Shares of what data sheets promise, alike for all devices. Found by benchmarks/calibrate_explore on the part
/// `calibration` of tests/explore/data/published, but for those of the host; docs/explore.md says how far they carry.
struct Efficiency {
  /// A product of an m x k and a k x n matrix reaches matmul_share / ((1 + s/m) (1 + s/n) (1 + s/k)) of the peak, s
  /// this size: matrices that do not fill the tiles of all multiprocessors.
  double half_size = 98;
  double memory = 0.395;         // of the memory's bandwidth, in kernels as frameworks run them
  double link = 0.406;           // of a link's bandwidth, in collectives
  double launch_seconds = 6e-6;  // between the begins of two kernels, at least
  double host_link = 0.8;        // of a device's link to its host
  double host_memory = 0.45;     // of the host memory's bandwidth, in its update
};

struct Hardware {
  Device device = {};
  Cluster cluster = {};
  Efficiency efficiency = {};
};

}  // namespace lshdp::explore
