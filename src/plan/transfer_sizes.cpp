// Bytes in flight from rate and delay, cut into segments by what a message costs.
#include "lshdp/plan/transfer_sizes.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

#include <fmt/format.h>

#include "checked_json.h"
#include "lshdp/core/median.h"
#include "lshdp/core/text.h"
#include "lshdp/plan/link_shares.h"

namespace lshdp::plan {
namespace {

constexpr double kOffCore = 8e-3;          // seconds a rank may be away from its core
constexpr double kMessageShare = 0.04;     // of a segment's time on the wire: what a message costs beyond its bytes
constexpr double kFewest = 4, kMost = 16;  // segments that what is in flight is cut into
constexpr double kMinSegment = 16 << 10, kLargestSegment = 4 << 20;
constexpr double kMinSends = 2, kMaxSends = 16;
constexpr std::int64_t kMinBucket = 32 << 10, kLargestBucket = 512 << 10;

/// Limits of what a person may write into a plan.
constexpr std::int64_t kMinGivenSegment = 4 << 10, kLargestGiven = 1 << 30, kMaxGivenSends = 1024;

/// The power of two nearest to `value` (above 0) in ratio, within two powers of two.
std::int64_t power_of_two(double value, double least, double largest) {
  return static_cast<std::int64_t>(std::exp2(std::round(std::log2(std::clamp(value, least, largest)))));
}

void check(const LinkFigures& link) {
  const auto is_figure = [](double figure) { return std::isfinite(figure) && figure >= 0; };
  if (!is_figure(link.latency_seconds) || !is_figure(link.message_seconds) || !is_figure(link.bytes_per_second) ||
      link.bytes_per_second == 0)
    throw std::invalid_argument("transfer sizes: a link's figures must be finite and not negative, its rate above 0");
}

/// The rate that sizes are for.
double rate_of(const Profile& profile) {
  const std::vector<double> links = link_rates(profile);
  return relative_links(links).empty() ? profile.network.bytes_per_second : std::ranges::max(links);
}

/// Beyond its bytes; a latency at least, whatever noise says.
double message_seconds(const NetworkProfile& network) {
  std::vector<double> excess;
  for (const NetworkPoint& message : network.messages) {
    const double alone = message.seconds - static_cast<double>(message.bytes) / network.bytes_per_second;
    excess.push_back(std::max(network.latency_seconds, alone));
  }
  return median(std::move(excess));
}

}  // namespace

TransferSizes transfer_sizes(const LinkFigures& link) {
  check(link);
  const double rate = link.bytes_per_second;
  const double in_flight = rate * (2 * link.latency_seconds + kOffCore);
  const double wanted = link.message_seconds * rate / kMessageShare;
  TransferSizes sizes;
  sizes.segment_bytes =
      power_of_two(std::clamp(wanted, in_flight / kMost, in_flight / kFewest), kMinSegment, kLargestSegment);
  sizes.sends_in_flight = power_of_two(in_flight / static_cast<double>(sizes.segment_bytes), kMinSends, kMaxSends);
  sizes.bucket_bytes = std::clamp(sizes.segment_bytes, kMinBucket, kLargestBucket);
  return sizes;
}

std::optional<TransferSizes> transfer_sizes(const Profile& profile) {
  const NetworkProfile& network = profile.network;
  if (profile.ranks.size() < 2 || network.bytes_per_second <= 0 || network.messages.empty()) return std::nullopt;
  return transfer_sizes({.latency_seconds = network.latency_seconds,
                         .bytes_per_second = rate_of(profile),
                         .message_seconds = message_seconds(network)});
}

std::string describe(const TransferSizes& sizes) {
  return fmt::format("segments of {}, {} in flight, buckets of {}", format_size(sizes.segment_bytes),
                     sizes.sends_in_flight, format_size(sizes.bucket_bytes));
}

nlohmann::json to_json(const TransferSizes& sizes) {
  return {{"segment_bytes", sizes.segment_bytes},
          {"sends_in_flight", sizes.sends_in_flight},
          {"bucket_bytes", sizes.bucket_bytes}};
}

TransferSizes transfer_sizes_from_json(const nlohmann::json& json, const std::string& source) {
  return {.segment_bytes = json_int(json, "segment_bytes", source, kMinGivenSegment, kLargestGiven),
          .sends_in_flight = json_int(json, "sends_in_flight", source, 1, kMaxGivenSends),
          .bucket_bytes = json_int(json, "bucket_bytes", source, 0, kLargestGiven)};
}

}  // namespace lshdp::plan
