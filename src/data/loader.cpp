// One thread that reads and prepares the next batches while the caller computes.
#include "lshdp/data/loader.h"

#include <condition_variable>
#include <deque>
#include <exception>
#include <future>
#include <mutex>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "lshdp/core/error.h"

namespace lshdp::data {

class PrefetchingLoader::Thread {
 public:
  Thread(Dataset& dataset, Preparation preparation, std::function<std::optional<Request>(std::int64_t)> request,
         std::shared_ptr<ComputeDevice> device, int ahead)
      : dataset_(dataset),
        preparation_(preparation),
        request_(std::move(request)),
        device_(std::move(device)),
        ahead_(static_cast<std::size_t>(ahead)) {
    // ATen hands the last number of threads anyone set to threads it meets later, so we set ours back for those.
    const int threads = at::get_num_threads();
    std::promise<void> alone;
    const std::future<void> is_alone = alone.get_future();
    thread_ = std::thread([this, alone = std::move(alone)]() mutable {
      at::get_num_threads();
      at::set_num_threads(1);
      alone.set_value();
      run();
    });
    is_alone.wait();
    at::set_num_threads(threads);
  }

  ~Thread() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  std::optional<Batch> next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !ready_.empty() || ended_; });
    if (!ready_.empty()) {
      Batch batch = std::move(ready_.front());
      ready_.pop_front();
      changed_.notify_all();
      return batch;
    }
    if (error_) std::rethrow_exception(error_);
    return std::nullopt;
  }

  void restart(std::int64_t k, const std::function<void()>& change) {
    std::unique_lock lock(mutex_);
    paused_ = true;
    changed_.wait(lock, [&] { return !working_; });
    paused_ = false;  // the lock is kept from here on, so that the thread stands still even if `change` throws
    changed_.notify_all();
    if (change) change();
    ready_.clear();
    error_ = nullptr;
    ended_ = false;
    next_ = k;
  }

 private:
  /// Works without the lock; a batch made while restart() waited is dropped by it.
  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] { return stop_ || (!paused_ && !ended_ && ready_.size() < ahead_); });
      if (stop_) return;
      working_ = true;
      lock.unlock();
      std::optional<Batch> batch;
      std::exception_ptr error;
      try {
        batch = make(next_);
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      working_ = false;
      error_ = error;
      ended_ = !batch;
      if (batch) ready_.push_back(std::move(*batch));
      ++next_;
      changed_.notify_all();
    }
  }

  std::optional<Batch> make(std::int64_t k) {
    const std::optional<Request> request = request_(k);
    if (!request) return std::nullopt;
    Batch batch = dataset_.read(request->samples);
    if (dataset_.info().kind == DatasetInfo::Kind::images) {
      batch.input = prepare_images(batch.input, request->samples, request->epoch, preparation_, dataset_.info());
    }
    if (!device_) return batch;
    const auto there = [&](const at::Tensor& tensor) { return tensor.defined() ? device_->upload(tensor) : tensor; };
    batch = {there(batch.input), there(batch.target), there(batch.positions)};
    return batch;
  }

  Dataset& dataset_;
  const Preparation preparation_;
  const std::function<std::optional<Request>(std::int64_t)> request_;
  const std::shared_ptr<ComputeDevice> device_;
  const std::size_t ahead_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Batch> ready_;
  std::exception_ptr error_;
  std::int64_t next_ = 0;  // written under the lock while not working
  bool working_ = false, paused_ = false, ended_ = false, stop_ = false;
  std::thread thread_;
};

PrefetchingLoader::PrefetchingLoader(Dataset& dataset, Preparation preparation,
                                     std::function<std::optional<Request>(std::int64_t k)> request,
                                     std::shared_ptr<ComputeDevice> device, int ahead) {
  if (ahead < 1) throw UsageError(fmt::format("{} batches to read ahead; there must be at least 1", ahead));
  thread_ = std::make_unique<Thread>(dataset, preparation, std::move(request), std::move(device), ahead);
}

PrefetchingLoader::~PrefetchingLoader() = default;

std::optional<Batch> PrefetchingLoader::next() { return thread_->next(); }

void PrefetchingLoader::restart(std::int64_t k, const std::function<void()>& change) { thread_->restart(k, change); }

}  // namespace lshdp::data
