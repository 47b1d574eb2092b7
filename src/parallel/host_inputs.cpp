// Copies of block inputs beside the computation.
#include "host_inputs.h"

#include <utility>

#include <ATen/ATen.h>
#include <c10/util/accumulate.h>

#include "layout/bucket_transfer.h"

namespace lshdp::parallel {

/// Where the input lies on the host, in its shape.
at::Tensor HostInputs::make_room(Place& place, const at::Tensor& input, ComputeDevice& device) {
  const bool fits = place.memory.defined() && place.memory.scalar_type() == input.scalar_type() &&
                    place.memory.numel() >= input.numel();
  if (!fits) {
    place.memory.reset();
    place.arena.reset();
    place.arena.emplace(HostArena::bytes_of(input.numel(), input.scalar_type()), device);
    place.memory = place.arena->take(input.numel(), input.scalar_type());
  }
  place.shape = input.sizes().vec();
  return place.memory.narrow(0, 0, input.numel()).view(place.shape);
}

void HostInputs::put(std::size_t block, const at::Tensor& given) {
  const at::Tensor input = given.contiguous();
  Place& place = places_[block];
  place.arriving.reset();  // of a pass that ended with an error
  place.leaving = input;
  place.left = copy_out(device_, make_room(place, input, device_), input, device_.record_event());
  if (const auto before = std::exchange(last_, block); before && *before != block) let_go(*before);
  if (!device_.has_own_memory()) let_go(block);
}

/// Its memory on the device may be used again.
void HostInputs::let_go(std::size_t block) {
  places_[block].left.wait();
  places_[block].leaving.reset();
}

void HostInputs::prefetch(std::size_t block) {
  Place& place = places_[block];
  if (place.arriving.defined()) return;
  if (place.leaving.defined()) let_go(block);
  const std::int64_t count = c10::multiply_integers(place.shape);
  place.arriving = at::empty(place.shape, place.memory.options().device(device_.where()));
  place.arrived =
      copy_in(device_, place.arriving, place.memory.narrow(0, 0, count).view(place.shape), device_.record_event());
}

at::Tensor HostInputs::take(std::size_t block) {
  prefetch(block);
  device_.wait_event(places_[block].arrived);
  return std::exchange(places_[block].arriving, {});
}

std::int64_t HostInputs::bytes() const {
  std::int64_t bytes = 0;
  for (const Place& place : places_) bytes += place.arena ? place.arena->bytes() : 0;
  return bytes;
}

}  // namespace lshdp::parallel
