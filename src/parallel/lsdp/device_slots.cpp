// What to copy next, and the thread that copies it.
#include "lsdp/device_slots.h"

#include <algorithm>
#include <stdexcept>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "layout/bucket_transfer.h"
#include "lshdp/core/clock.h"
#include "optimizer/helper_thread.h"

namespace lshdp::parallel {
namespace {

constexpr std::size_t kShared = 2;  // slots that streamed buckets take turns in

}  // namespace

std::vector<bool> resident_buckets(const BlockLayout& layout, std::size_t blocks, std::size_t resident) {
  std::vector<bool> stays;
  for (const Bucket& bucket : layout.buckets()) stays.push_back(bucket.last_block < resident);
  for (std::size_t block = 0; block < blocks; ++block) {
    for (const std::size_t bucket : layout.buckets_of(block).subspan(1)) stays[bucket] = true;
  }
  return stays;
}

std::vector<std::int64_t> slot_counts(const BlockLayout& layout, const std::vector<bool>& resident) {
  std::vector<std::int64_t> counts(kShared, 0);
  std::size_t turn = 0;
  for (std::size_t bucket = 0; bucket < resident.size(); ++bucket) {
    const std::int64_t count = layout.buckets()[bucket].count;
    if (resident[bucket]) {
      counts.push_back(count);
    } else {
      std::int64_t& shared = counts[turn++ % kShared];
      shared = std::max(shared, count);
    }
  }
  return counts;
}

DeviceSlots::DeviceSlots(NodeBuckets& node, const BlockLayout& layout, std::vector<bool> resident,
                         ComputeDevice& device, Trace* trace, std::function<void(std::exception_ptr)> on_error)
    : node_(node),
      layout_(layout),
      device_(device),
      trace_(trace),
      on_error_(std::move(on_error)),
      slot_of_(node.size()),
      version_(node.size(), 0),
      expected_(node.size(), 0),
      pins_(node.size(), 0) {
  // Not zeroed: nothing is read before a copy has filled it.
  for (const std::int64_t count : slot_counts(layout, resident))
    storage_.push_back(at::empty({count}, node.values(0).options().device(device.where())));
  std::size_t turn = 0, own = kShared;
  for (std::size_t bucket = 0; bucket < node.size(); ++bucket) {
    slot_of_[bucket] = resident[bucket] ? own++ : turn++ % kShared;
    values_.push_back(storage_[slot_of_[bucket]].narrow(0, 0, node.values(bucket).numel()));
  }
  holder_.resize(storage_.size());
  free_.resize(storage_.size());
  thread_ = start_helper([this] { loop(); });
}

HostLink DeviceSlots::copied() const {
  const NodeBuckets::Lock lock = node_.lock();
  return copied_;
}

bool DeviceSlots::current(std::size_t bucket) const {
  return holder_[slot_of_[bucket]] == bucket && version_[bucket] == expected_[bucket];
}

bool DeviceSlots::available(std::size_t bucket) const { return node_.progress(bucket).version >= expected_[bucket]; }

bool DeviceSlots::pinned(std::size_t slot) const { return holder_[slot] && pins_[*holder_[slot]] > 0; }

void DeviceSlots::acquire(std::size_t block, bool in_step) {
  const NodeBuckets::Lock lock = node_.lock();
  for (const std::size_t bucket : layout_.buckets_of(block)) {
    if (holder_[slot_of_[bucket]] != bucket && pinned(slot_of_[bucket]))
      throw std::logic_error("no room for a block's parameters: release the blocks before it");
    ++pins_[bucket];
    if (!current(bucket)) wanted_.push_back(bucket);
  }
  // The same block again: the last one, whose backward follows its forward, or the first one in the next pass.
  up_ = block > last_block_ || block == 0;
  last_block_ = block;
  in_step_ = in_step;
  if (!wanted_.empty() || pick()) node_.ring();
  node_.wait([&] { return std::ranges::all_of(wanted_, [this](std::size_t bucket) { return current(bucket); }); });
  wanted_.clear();
}

void DeviceSlots::release(std::size_t block) {
  const Event free = device_.record_event();
  const NodeBuckets::Lock lock = node_.lock();
  for (const std::size_t bucket : layout_.buckets_of(block)) {
    --pins_[bucket];
    free_[slot_of_[bucket]] = free;
  }
  if (pick()) node_.ring();
}

void DeviceSlots::expect_change(std::size_t bucket) {
  const NodeBuckets::Lock lock = node_.lock();
  ++expected_[bucket];
}

bool DeviceSlots::all_versions_there() const {
  for (std::size_t bucket = 0; bucket < node_.size(); ++bucket) {
    if (!available(bucket)) return false;
  }
  return true;
}

bool DeviceSlots::finished() const {
  const NodeBuckets::Lock lock = node_.lock();
  return all_versions_there();
}

void DeviceSlots::wait_for_all_versions() {
  const NodeBuckets::Lock lock = node_.lock();
  node_.wait([this] { return all_versions_there(); });
}

DeviceSlots::~DeviceSlots() {
  if (thread_.joinable()) stop();
}

void DeviceSlots::stop() {
  {
    const NodeBuckets::Lock lock = node_.lock();
    stopping_ = true;
    node_.ring();
  }
  thread_.join();
}

void DeviceSlots::loop() {
  const c10::NoGradGuard no_grad;
  const auto helping = device_.help();
  try {
    while (true) {
      std::optional<std::size_t> bucket;
      Event free;
      {
        const NodeBuckets::Lock lock = node_.lock();
        if (!node_.wait_or_end([&] { return stopping_ || (bucket = pick()).has_value(); }) || stopping_) return;
        // Not to be taken for what it held before while it is written to.
        holder_[slot_of_[*bucket]].reset();
        version_[*bucket] = expected_[*bucket];
        free = free_[slot_of_[*bucket]];
      }
      free.wait();
      copy(*bucket);
    }
  } catch (...) {
    on_error_(std::current_exception());
  }
}

void DeviceSlots::copy(std::size_t bucket) {
  const double begun = now_seconds();
  copy_aside(values_[bucket], node_.values(bucket));
  device_.record_event().wait();
  const double ended = now_seconds();
  if (trace_ != nullptr && trace_->enabled())
    trace_->record(fmt::format("copy in {}", bucket), "copy in", begun, ended);
  const NodeBuckets::Lock lock = node_.lock();
  holder_[slot_of_[bucket]] = bucket;
  copied_.bytes += static_cast<std::int64_t>(values_[bucket].nbytes());
  copied_.seconds += ended - begun;
  node_.ring();
}

/// What to copy now, of what the node has: first what is waited for, then what comes next, then resident buckets.
std::optional<std::size_t> DeviceSlots::pick() const {
  for (const std::size_t bucket : wanted_) {
    if (!current(bucket) && available(bucket)) return bucket;
  }
  if (const auto bucket = pick_upcoming()) return bucket;
  for (std::size_t bucket = 0; bucket < values_.size(); ++bucket) {
    if (slot_of_[bucket] >= kShared && pins_[bucket] == 0 && !current(bucket) && available(bucket)) return bucket;
  }
  return std::nullopt;
}

/// The first streamed bucket on the way from here that its slot is free for. A bucket that comes earlier has the slot.
std::optional<std::size_t> DeviceSlots::pick_upcoming() const {
  const std::size_t position = layout_.bucket_of(last_block_);
  const Bucket& here = layout_.buckets()[position];
  bool claimed[kShared] = {pinned(0), pinned(1)};
  if (slot_of_[position] < kShared && last_block_ != (up_ ? here.last_block : here.first_block))
    claimed[slot_of_[position]] = true;  // more of its blocks follow
  std::optional<std::size_t> chosen;
  const auto consider = [&](std::size_t bucket) {
    const std::size_t slot = slot_of_[bucket];
    if (chosen || slot >= kShared || claimed[slot]) return;
    claimed[slot] = true;
    if (!current(bucket) && available(bucket)) chosen = bucket;
  };
  if (up_) {
    for (std::size_t bucket = position + 1; bucket < values_.size(); ++bucket) consider(bucket);
    for (std::size_t bucket = values_.size(); in_step_ && bucket-- > 0;) consider(bucket);
  } else {
    for (std::size_t bucket = position; bucket-- > 0;) consider(bucket);
  }
  for (std::size_t bucket = 0; bucket < values_.size(); ++bucket) consider(bucket);
  return chosen;
}

}  // namespace lshdp::parallel
