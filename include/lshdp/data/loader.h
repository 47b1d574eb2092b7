// Reads, augments and normalises the batches of coming steps on one thread of its own.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "lshdp/core/device.h"
#include "lshdp/data/dataset.h"

namespace lshdp::data {

/// Keyed by (seed, epoch, sample), so that it does not depend on the rank that draws it.
struct Augmentation {
  std::int64_t crop_padding = 0;  // pixels of zero padding for a random crop; 0: off
  bool horizontal_flip = false;
  std::uint64_t seed = 0;
};

/// How samples become a model's input.
struct Preparation {
  std::int64_t image_size = 0;  // images are resized to this square (bilinear, antialiased); 0: as they are
  Augmentation augmentation;
};

/// float32 [B, C, S, S], scaled to [0, 1] and normalised with `info`'s mean and deviation. `samples` are the sample
/// numbers that key the augmentation.
at::Tensor prepare_images(const at::Tensor& images, std::span<const std::int64_t> samples, std::int64_t epoch,
                          const Preparation& preparation, const DatasetInfo& info);

/// Whose samples to read, and the epoch that keys their augmentation. None: there is nothing more to read.
struct Request {
  std::vector<std::int64_t> samples;
  std::int64_t epoch = 0;
};

/// Prepared batches in the order of requests, read ahead on one thread. Errors of that thread are thrown by next().
class PrefetchingLoader {
 public:
  /// `request(k)` names the k-th batch; it is called on the loader's thread, at most `ahead` batches before it is
  /// needed. With a `device`, batches are brought there.
  PrefetchingLoader(Dataset& dataset, Preparation preparation,
                    std::function<std::optional<Request>(std::int64_t k)> request,
                    std::shared_ptr<ComputeDevice> device = nullptr, int ahead = 2);
  ~PrefetchingLoader();
  PrefetchingLoader(const PrefetchingLoader&) = delete;
  PrefetchingLoader& operator=(const PrefetchingLoader&) = delete;
  /// The next batch (0 samples for an empty request); none after the last.
  std::optional<Batch> next();
  /// Drops what was read ahead and asks `request` again from batch `k` on (after the split changed). `change` runs in
  /// between, while the loader's thread stands still: the place to change what `request` reads, such as the sampler's
  /// batches.
  void restart(std::int64_t k, const std::function<void()>& change = {});

 private:
  class Thread;
  std::unique_ptr<Thread> thread_;
};

}  // namespace lshdp::data
