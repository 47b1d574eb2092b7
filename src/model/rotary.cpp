// Angles of rotary positions, with the three kinds of scaling that are supported.
#include "rotary.h"

#include <numbers>

#include <ATen/ATen.h>
#include <fmt/format.h>

namespace lshdp::model {
namespace {

constexpr const char *kParameters = "rope_parameters", *kScaling = "rope_scaling", *kTheta = "rope_theta";

std::string kind_in(Description& d) {
  if (d.has("rope_type")) {
    d.ignore("type");  // its name in older files, where both may stand
    return d.text("rope_type");
  }
  return d.has("type") ? d.text("type") : "default";
}

Rotary read_parameters(Description& d, double theta) {
  Rotary rotary;
  rotary.theta = d.positive_or(kTheta, theta);
  const std::string kind = kind_in(d);
  if (kind == "linear" || kind == "llama3") {
    rotary.kind = kind == "linear" ? Rotary::Kind::linear : Rotary::Kind::llama3;
    rotary.factor = d.positive("factor");
  } else if (kind != "default") {
    throw_wrong_key(d.source(), "rope_type",
                    fmt::format("is \"{}\", which is not supported; \"default\", \"linear\" and \"llama3\" are", kind));
  }
  if (rotary.kind == Rotary::Kind::llama3) {
    rotary.low = d.positive("low_freq_factor");
    rotary.high = d.positive("high_freq_factor");
    rotary.original_positions = d.size("original_max_position_embeddings");
    if (rotary.high <= rotary.low)
      throw_wrong_key(d.source(), "high_freq_factor",
                      fmt::format("must be above \"low_freq_factor\" ({})", rotary.low));
  }
  d.allow_only("partial_rotary_factor", 1.0);
  d.refuse_unknown_keys();
  return rotary;
}

at::Tensor angle_a_position(const Rotary& rotary, std::int64_t width, at::ScalarType type) {
  const at::Tensor share = at::arange(0, width, 2, at::kLong).to(type) / width;
  at::Tensor angle = at::pow(rotary.theta, share).reciprocal();
  if (rotary.kind == Rotary::Kind::linear) return angle / rotary.factor;
  if (rotary.kind == Rotary::Kind::plain) return angle;
  const at::Tensor turns = angle * (static_cast<double>(rotary.original_positions) / (2 * std::numbers::pi));
  const at::Tensor kept = ((turns - rotary.low) / (rotary.high - rotary.low)).clamp(0, 1);
  return (1 - kept) * angle / rotary.factor + kept * angle;
}

}  // namespace

Rotary read_rotary(Description& description) {
  const bool has_scaling = description.has(kScaling), has_parameters = description.has(kParameters);
  for (const char* key : {kParameters, kScaling, kTheta}) description.ignore(key);
  if (has_scaling && has_parameters)
    throw_wrong_key(description.source(), kScaling,
                    fmt::format("and \"{}\" are one thing; leave one out", kParameters));
  const double theta = description.positive_or(kTheta, Rotary().theta);
  if (!has_scaling && !has_parameters) return {.theta = theta};
  Description inner = description.inside(has_scaling ? kScaling : kParameters);
  return read_parameters(inner, theta);
}

Json rotary_parameters(const Rotary& rotary) {
  Json json = {{"rope_type", "default"}, {kTheta, rotary.theta}};
  if (rotary.kind == Rotary::Kind::plain) return json;
  json.update({{"rope_type", "linear"}, {"factor", rotary.factor}});
  if (rotary.kind == Rotary::Kind::linear) return json;
  json.update({{"rope_type", "llama3"},
               {"low_freq_factor", rotary.low},
               {"high_freq_factor", rotary.high},
               {"original_max_position_embeddings", rotary.original_positions}});
  return json;
}

Rotation::Rotation(const Rotary& rotary, std::int64_t width)
    : single_(angle_a_position(rotary, width, at::kFloat)), double_(angle_a_position(rotary, width, at::kDouble)) {}

Rotation::Angles Rotation::angles(std::int64_t first, std::int64_t length, const at::Tensor& like) const {
  return angles(at::arange(first, first + length, like.options().dtype(at::kLong)), like);
}

Rotation::Angles Rotation::angles(const at::Tensor& positions, const at::Tensor& like) const {
  const at::Tensor& rates = like.scalar_type() == at::kDouble ? double_ : single_;
  // Not waited for: the copy of so few values is taken before the call returns.
  const at::Tensor there = rates.to(like.device(), rates.scalar_type(), /*non_blocking=*/true);
  const at::Tensor angle = positions.to(there.scalar_type()).unsqueeze(-1).unsqueeze(-1) * there;
  return {angle.cos().to(like.scalar_type()), angle.sin().to(like.scalar_type())};
}

at::Tensor Rotation::turned(const at::Tensor& heads, const Angles& angles) {
  const std::vector<at::Tensor> halves = heads.chunk(2, -1);
  return at::cat(
      {halves[0] * angles.cosine - halves[1] * angles.sine, halves[1] * angles.cosine + halves[0] * angles.sine}, -1);
}

}  // namespace lshdp::model
