// The device's memory twice: an address range that nobody may touch, and behind it the bytes.
#include "support/guarded_device.h"

#include <map>
#include <mutex>

#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <sys/mman.h>
#include <torch/library.h>

namespace lshdp::test {
namespace {

constexpr std::size_t kPage = 4096;

/// Pieces of guarded memory: [begin, begin + size) may not be touched, [begin + size, begin + 2 * size) holds the
/// bytes.
class GuardedMemory {
 public:
  static GuardedMemory& instance() {
    static auto* memory = new GuardedMemory;  // tensors may outlive main
    return *memory;
  }

  void* take(std::size_t bytes) {
    const std::size_t size = (bytes + kPage - 1) / kPage * kPage;
    void* begin = ::mmap(nullptr, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (begin == MAP_FAILED || ::mprotect(static_cast<std::byte*>(begin) + size, size, PROT_READ | PROT_WRITE) != 0)
      throw std::bad_alloc();
    const std::scoped_lock lock(mutex_);
    sizes_[static_cast<std::byte*>(begin)] = size;
    return begin;
  }

  void give_back(void* begin) {
    const std::scoped_lock lock(mutex_);
    const auto found = sizes_.find(static_cast<std::byte*>(begin));
    ::munmap(begin, 2 * found->second);
    sizes_.erase(found);
  }

  /// The bytes behind an address; the address itself where it is not guarded.
  void* bytes_of(const void* address) const {
    auto* at = static_cast<std::byte*>(const_cast<void*>(address));
    const std::scoped_lock lock(mutex_);
    auto next = sizes_.upper_bound(at);
    if (next == sizes_.begin()) return at;
    const auto& [begin, size] = *std::prev(next);
    return at < begin + size ? at + size : at;
  }

  bool holds(const void* address) const { return bytes_of(address) != address; }

 private:
  mutable std::mutex mutex_;
  std::map<std::byte*, std::size_t> sizes_;  // by where they begin
};

GuardedMemory& memory() { return GuardedMemory::instance(); }

class GuardedAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    const c10::Device device(c10::DeviceType::PrivateUse1, 0);
    if (bytes == 0) return {nullptr, nullptr, &free, device};
    void* begin = memory().take(bytes);
    return {begin, begin, &free, device};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    std::memcpy(memory().bytes_of(to), memory().bytes_of(from), bytes);
  }

 private:
  static void free(void* begin) {
    if (begin) memory().give_back(begin);
  }
};

GuardedAllocator* allocator() {
  static auto* allocator = new GuardedAllocator;
  return allocator;
}

// --- what LibTorch needs of a kind of device ---
at::Tensor empty_strided(c10::SymIntArrayRef sizes, c10::SymIntArrayRef strides, std::optional<at::ScalarType> type,
                         std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(C10_AS_INTARRAYREF_SLOW(sizes), C10_AS_INTARRAYREF_SLOW(strides),
                                           allocator(), c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                           c10::dtype_or_default(type));
}

at::Tensor empty(c10::SymIntArrayRef sizes, std::optional<at::ScalarType> type, std::optional<at::Layout>,
                 std::optional<at::Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(C10_AS_INTARRAYREF_SLOW(sizes), allocator(),
                                   c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), c10::dtype_or_default(type),
                                   format);
}

/// The same elements as a tensor of the host.
at::Tensor seen_by_host(const at::Tensor& tensor) {
  if (tensor.is_cpu()) return tensor;
  return at::from_blob(memory().bytes_of(tensor.const_data_ptr()), tensor.sizes(), tensor.strides(),
                       tensor.options().device(at::kCPU));
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool) {
  seen_by_host(to).copy_(seen_by_host(from));
  return to;
}

at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  if (from.sizes() != to.sizes()) to.resize_(from.sizes());
  return copy_from(from, to, false);
}

const at::Tensor& resize(const at::Tensor& self, c10::SymIntArrayRef sizes, std::optional<at::MemoryFormat>) {
  const at::Tensor grown = at::empty(C10_AS_INTARRAYREF_SLOW(sizes), self.options());
  self.unsafeGetTensorImpl()->set_storage_keep_dtype(grown.storage());
  self.unsafeGetTensorImpl()->set_sizes_contiguous(grown.sizes());
  return self;
}

at::Tensor as_strided(const at::Tensor& self, c10::SymIntArrayRef sizes, c10::SymIntArrayRef strides,
                      std::optional<c10::SymInt> offset) {
  return at::native::as_strided_tensorimpl(
      self, C10_AS_INTARRAYREF_SLOW(sizes), C10_AS_INTARRAYREF_SLOW(strides),
      offset ? std::optional(offset->guard_int(__FILE__, __LINE__)) : std::nullopt);
}

at::Tensor view(const at::Tensor& self, c10::SymIntArrayRef sizes) {
  return at::native::view(self, C10_AS_INTARRAYREF_SLOW(sizes));
}

at::Tensor reshape_alias(const at::Tensor& self, c10::SymIntArrayRef sizes, c10::SymIntArrayRef strides) {
  return at::native::_reshape_alias(self, C10_AS_INTARRAYREF_SLOW(sizes), C10_AS_INTARRAYREF_SLOW(strides));
}

void on_the_host(const c10::OperatorHandle& what, torch::jit::Stack* stack) { at::native::cpu_fallback(what, stack); }

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", &empty);
  library.impl("empty_strided", &empty_strided);
  library.impl("_copy_from", &copy_from);
  library.impl("_copy_from_and_resize", &copy_from_and_resize);
  library.impl("resize_", &resize);
  library.impl("as_strided", &as_strided);
  library.impl("view", &view);
  library.impl("_reshape_alias", &reshape_alias);
}
TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&on_the_host>());
}
using GuardedDeviceGuard = c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::PrivateUse1>;
C10_REGISTER_GUARD_IMPL(PrivateUse1, GuardedDeviceGuard)

/// What LibTorch asks a backend of its own for.
struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  at::Device getDeviceFromPtr(void*) const override { return {c10::DeviceType::PrivateUse1, 0}; }
};

void register_hooks() {
  static Hooks hooks;
  if (!at::isPrivateUse1HooksRegistered()) at::RegisterPrivateUse1HooksInterface(&hooks);
}

}  // namespace

GuardedDevice::GuardedDevice() {
  c10::SetAllocator(c10::DeviceType::PrivateUse1, allocator(), 1);
  register_hooks();
}

bool GuardedDevice::holds(const void* address) const { return memory().holds(address); }

Event GuardedDevice::copy_in(void* to, const void* from, std::int64_t bytes, const Event& after) {
  return DetachedDevice::copy_in(memory().bytes_of(to), from, bytes, after);
}

Event GuardedDevice::copy_out(void* to, const void* from, std::int64_t bytes, const Event& after,
                              std::function<void()> then) {
  return DetachedDevice::copy_out(to, memory().bytes_of(from), bytes, after, std::move(then));
}

}  // namespace lshdp::test
