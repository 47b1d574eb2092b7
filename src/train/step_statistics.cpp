// Gathering of step figures behind the next steps.
#include "step_statistics.h"

#include <algorithm>
#include <cmath>
#include <exception>

#include "lshdp/core/clock.h"
#include "lshdp/core/wall_time.h"

namespace lshdp::train {
namespace {

// The fields of one rank in a round.
enum Field : std::size_t {
  kLoss,
  kSquaredNorm,
  kCompute,
  kCommunication,
  kWait,
  kCpu,
  kCommunicationCpu,
  kSeconds,
  kBytesSent,
  kPeakTensorBytes,
  kInterrupted,
  kCheckpointDue,
  kCheckpointProgress,
  kFields
};

comm::Shards shards_of(int ranks) {
  comm::Shards shards;
  for (int r = 0; r <= ranks; ++r) shards.bounds.push_back(r * static_cast<std::int64_t>(kFields));
  return shards;
}

/// The field of every rank.
std::vector<double> column(const std::vector<double>& values, Field field) {
  std::vector<double> result;
  for (std::size_t at = field; at < values.size(); at += kFields) result.push_back(values[at]);
  return result;
}

/// The same as whole numbers.
std::vector<std::int64_t> whole_column(const std::vector<double>& values, Field field) {
  const std::vector<double> column_values = column(values, field);
  return {column_values.begin(), column_values.end()};
}

double sum(const std::vector<double>& values) {
  double total = 0;
  for (const double value : values) total += value;
  return total;
}

}  // namespace

StepStatistics::StepStatistics(comm::Communicator& communicator)
    : communicator_(communicator), shards_(shards_of(communicator.size())) {}

StepStatistics::~StepStatistics() {
  try {
    if (under_way_) under_way_->work.wait();
  } catch (const std::exception&) {
    // The run failed; whoever noticed first has said so.
  }
}

void StepStatistics::begin(double now, const LocalStep& totals) {
  totals_ = totals;
  last_end_ = now;
}

std::vector<GatheredStep> StepStatistics::end_step(const LocalStep& local) {
  std::vector<GatheredStep> done = receive();
  if (without_norm_) without_norm_->loss_scale = local.loss_scale_of_previous;
  const double now = now_seconds();
  Round round{local.step, std::vector<double>(static_cast<std::size_t>(shards_.bounds.back())), {}, utc_time_text()};
  double* mine = round.values.data() + shards_.begin(communicator_.rank());
  mine[kLoss] = local.loss;
  mine[kSquaredNorm] = local.squared_norm_of_previous;
  mine[kCompute] = local.compute_seconds - totals_.compute_seconds;
  mine[kCommunication] = local.communication_seconds - totals_.communication_seconds;
  mine[kWait] = local.wait_seconds - totals_.wait_seconds;
  mine[kCpu] = local.cpu_seconds - totals_.cpu_seconds;
  mine[kCommunicationCpu] = local.communication_cpu_seconds - totals_.communication_cpu_seconds;
  mine[kSeconds] = now - last_end_;
  mine[kBytesSent] = static_cast<double>(local.bytes_sent - totals_.bytes_sent);
  mine[kPeakTensorBytes] = static_cast<double>(local.peak_tensor_bytes);
  mine[kInterrupted] = local.interrupted ? 1 : 0;
  mine[kCheckpointDue] = local.checkpoint_due ? 1 : 0;
  mine[kCheckpointProgress] = static_cast<double>(local.checkpoint_progress);
  under_way_ = std::move(round);  // before it is sent: its memory stays where it is from here
  under_way_->work = communicator_.all_gather(
      {under_way_->values.data(), static_cast<std::int64_t>(under_way_->values.size()), comm::DataType::float64},
      shards_);
  totals_ = local;
  last_end_ = now;
  return done;
}

std::vector<GatheredStep> StepStatistics::receive() {
  if (!under_way_) return {};
  under_way_->work.wait();
  std::vector<GatheredStep> done;
  if (without_norm_) done.push_back(complete(*without_norm_, sum(column(under_way_->values, kSquaredNorm))));
  without_norm_ = std::move(under_way_);
  under_way_.reset();
  return done;
}

std::vector<GatheredStep> StepStatistics::flush(double squared_norm, double loss_scale) {
  std::vector<GatheredStep> done = receive();
  if (!without_norm_) return done;
  without_norm_->loss_scale = loss_scale;
  communicator_.all_reduce_sum({&squared_norm, 1, comm::DataType::float64}).wait();
  done.push_back(complete(*without_norm_, squared_norm));
  without_norm_.reset();
  return done;
}

GatheredStep StepStatistics::complete(const Round& round, double global_squared_norm) const {
  GatheredStep step{round.step,
                    column(round.values, kLoss),
                    sum(column(round.values, kInterrupted)) > 0,
                    sum(column(round.values, kCheckpointDue)) > 0,
                    static_cast<std::int64_t>(std::ranges::min(column(round.values, kCheckpointProgress))),
                    round.loss_scale,
                    {}};
  step.record.step = round.step;
  step.record.gradient_norm = std::sqrt(global_squared_norm);
  step.record.step_seconds = round.values[kSeconds];  // rank 0's clock counts for all: they go in step
  step.record.rank_seconds = column(round.values, kSeconds);
  step.record.time = round.time;
  step.record.compute_seconds = column(round.values, kCompute);
  step.record.communication_seconds = column(round.values, kCommunication);
  step.record.wait_seconds = column(round.values, kWait);
  step.record.cpu_seconds = column(round.values, kCpu);
  step.record.communication_cpu_seconds = column(round.values, kCommunicationCpu);
  step.record.bytes_sent = whole_column(round.values, kBytesSent);
  const std::vector<std::int64_t> peaks = whole_column(round.values, kPeakTensorBytes);
  if (std::ranges::min(peaks) > 0) step.record.peak_tensor_bytes = peaks;
  return step;
}

}  // namespace lshdp::train
