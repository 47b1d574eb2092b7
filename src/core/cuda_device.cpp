// A CUDA device: LibTorch's streams and events behind ComputeDevice.
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "cuda_memory.h"
#include "lshdp/core/clock.h"
#include "lshdp/core/cuda.h"
#include "lshdp/core/error.h"

namespace lshdp {
namespace {

using c10::cuda::CUDAEvent;
using c10::cuda::CUDAStream;
using c10::cuda::CUDAStreamGuard;

/// An event whose time on the host's clock was looked up, so that those of others follow from it.
struct ClockPoint {
  CUDAEvent event{cudaEventDefault};
  double seconds = 0;
};

/// CUDA tells the time between two events as a float of milliseconds: of a minute it still knows 4 us, of a day 8 ms.
constexpr double kClockPointSeconds = 60;

/// A recent ClockPoint, from whichever thread asks.
class DeviceClock {
 public:
  /// `idle`: a stream that nothing else uses.
  explicit DeviceClock(const CUDAStream& idle) : idle_(idle) {}
  std::shared_ptr<const ClockPoint> point() {
    const std::scoped_lock lock(mutex_);
    if (point_ && now_seconds() - point_->seconds < kClockPointSeconds) return point_;
    const c10::cuda::CUDAGuard guard(idle_.device_index());
    auto point = std::make_shared<ClockPoint>();
    point->event.record(idle_);
    point->event.synchronize();
    point->seconds = now_seconds();
    return point_ = std::move(point);
  }

 private:
  const CUDAStream idle_;
  std::mutex mutex_;
  std::shared_ptr<const ClockPoint> point_;
};

class CudaEvent final : public Event::State {
 public:
  CudaEvent(const CUDAStream& stream, std::shared_ptr<const ClockPoint> origin) : origin_(std::move(origin)) {
    event_.record(stream);
  }
  void wait() override { event_.synchronize(); }
  double seconds() override { return origin_->seconds + 1e-3 * origin_->event.elapsed_time(event_); }
  void hold_back(const CUDAStream& stream) { event_.block(stream); }

 private:
  CUDAEvent event_{cudaEventDefault};
  std::shared_ptr<const ClockPoint> origin_;
};

/// For cudaLaunchHostFunc: runs the call once.
void run_call(void* data) {
  const std::unique_ptr<std::function<void()>> call(static_cast<std::function<void()>*>(data));
  (*call)();
}

class CudaDevice final : public ComputeDevice {
 public:
  explicit CudaDevice(int index)
      : index_(static_cast<c10::DeviceIndex>(index)),
        compute_(c10::cuda::getDefaultCUDAStream(index_)),
        in_(c10::cuda::getStreamFromPool(true, index_)),
        out_(c10::cuda::getStreamFromPool(true, index_)),
        upload_(c10::cuda::getStreamFromPool(false, index_)),
        clock_(c10::cuda::getStreamFromPool(true, index_)) {
    clock_.point();
  }

  c10::Device where() const override { return {c10::DeviceType::CUDA, index_}; }
  bool has_own_memory() const override { return true; }
  std::string description() const override {
    cudaDeviceProp properties{};
    C10_CUDA_CHECK(cudaGetDeviceProperties(&properties, index_));
    return properties.name;
  }
  std::unique_ptr<MemoryCounter> count_memory() override { return make_cuda_memory_counter(index_); }
  std::int64_t free_memory() const override { return free_cuda_memory(index_); }

  bool holds(const void* memory) const override {
    cudaPointerAttributes attributes{};
    C10_CUDA_CHECK(cudaPointerGetAttributes(&attributes, memory));
    return attributes.type == cudaMemoryTypeDevice;
  }

  std::shared_ptr<void> pin(void* memory, std::int64_t bytes) override {
    if (bytes == 0) return nullptr;
    const c10::cuda::CUDAGuard guard(index_);  // a thread of its own begins on device 0
    const cudaError_t result = cudaHostRegister(memory, static_cast<std::size_t>(bytes), cudaHostRegisterPortable);
    if (result != cudaSuccess) {
      cudaGetLastError();  // it would be reported again by the next call
      throw RunError(
          fmt::format("the host does not let {} bytes be pinned for copies: {}", bytes, cudaGetErrorString(result)));
    }
    return {memory, [index = index_](void* pinned) {
              int before = index;
              cudaGetDevice(&before);
              cudaSetDevice(index);
              cudaHostUnregister(pinned);
              cudaSetDevice(before);
            }};
  }

  std::shared_ptr<void> help() override {
    return std::make_shared<CUDAStreamGuard>(c10::cuda::getStreamFromPool(false, index_));
  }

  Event record_event() override { return event_of(c10::cuda::getCurrentCUDAStream(index_)); }

  Event copy_in(void* to, const void* from, std::int64_t bytes, const Event& after) override {
    copy(in_, to, from, bytes, cudaMemcpyHostToDevice, after);
    return event_of(in_);
  }

  Event copy_out(void* to, const void* from, std::int64_t bytes, const Event& after,
                 std::function<void()> then) override {
    copy(out_, to, from, bytes, cudaMemcpyDeviceToHost, after);
    if (then) {
      auto call = std::make_unique<std::function<void()>>(std::move(then));
      C10_CUDA_CHECK(cudaLaunchHostFunc(out_, run_call, call.get()));
      call.release();  // NOLINT: run_call has it
    }
    return event_of(out_);
  }

  void wait_event(const Event& event) override { hold_back(c10::cuda::getCurrentCUDAStream(index_), event); }

  void synchronize() override {
    const c10::cuda::CUDAGuard guard(index_);
    C10_CUDA_CHECK(cudaDeviceSynchronize());
  }

  at::Tensor upload(const at::Tensor& host) override {
    if (host.device() == where()) return host;
    const CUDAStreamGuard guard(upload_);
    at::Tensor there = host.to(where());
    upload_.synchronize();
    there.record_stream(compute_);  // its memory is used again only when the computation is done with it
    return there;
  }

 private:
  Event event_of(const CUDAStream& stream) { return Event(std::make_shared<CudaEvent>(stream, clock_.point())); }

  static void hold_back(const CUDAStream& stream, const Event& event) {
    if (auto* state = dynamic_cast<CudaEvent*>(event.state().get()))
      state->hold_back(stream);
    else
      event.wait();
  }

  static void copy(const CUDAStream& stream, void* to, const void* from, std::int64_t bytes, cudaMemcpyKind kind,
                   const Event& after) {
    const c10::cuda::CUDAGuard guard(stream.device_index());
    hold_back(stream, after);
    C10_CUDA_CHECK(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), kind, stream));
  }

  c10::DeviceIndex index_;
  CUDAStream compute_, in_, out_, upload_;
  DeviceClock clock_;
};

}  // namespace

bool built_with_cuda() { return true; }
int cuda_device_count() { return c10::cuda::device_count(); }

std::string cuda_version() {
  const auto text = [](int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); };
  int runtime = 0, driver = 0;
  // Without a driver either may fail, which is no error here.
  if (cudaRuntimeGetVersion(&runtime) != cudaSuccess) runtime = CUDART_VERSION;
  if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
  cudaGetLastError();  // it would be reported again by the next call
  return fmt::format("{}, {}", text(runtime), driver == 0 ? "no driver" : "driver " + text(driver));
}

std::shared_ptr<ComputeDevice> make_cuda_device(int index) {
  if (index < 0 || index >= cuda_device_count())
    throw RunError(fmt::format("cuda:{} is not there: this host has {} CUDA devices", index, cuda_device_count()));
  try {
    at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
    c10::cuda::set_device(static_cast<c10::DeviceIndex>(index));
    return std::make_shared<CudaDevice>(index);
  } catch (const c10::Error& error) {
    throw RunError(fmt::format("cuda:{} cannot be used: {}", index, error.what_without_backtrace()));
  }
}

}  // namespace lshdp
