// Rotary positions: each pair of a head's values is turned by an angle that grows with the position.
#pragma once
#include <cstdint>

#include <ATen/core/Tensor.h>

#include "description.h"

namespace lshdp::model {

/// How fast pairs turn, as Hugging Face's "rope_parameters" say it.
struct Rotary {
  enum class Kind : std::uint8_t { plain, linear, llama3 } kind = Kind::plain;
  double theta = 10000;  // pair i of n turns by theta^(-i / n) a position
  double factor = 1;     // linear: all turn that many times slower. llama3: those that turn slowly do
  // llama3: pairs that turn at most `low` times within the original positions are slowed down, those that turn at least
  // `high` times are not, and those between them in part.
  double low = 1, high = 4;
  std::int64_t original_positions = 0;
};

/// Reads "rope_parameters", or what stood for it before transformers 5: "rope_theta" and "rope_scaling". Throws
/// UsageError, also on kinds that are not supported.
Rotary read_rotary(Description& description);
/// What "rope_parameters" says of it.
Json rotary_parameters(const Rotary& rotary);

/// Turns heads of one width. Never changes.
class Rotation {
 public:
  /// Cosine and sine of the angles, each [T, 1, width / 2], or [B, T, 1, width / 2] where samples differ.
  struct Angles {
    at::Tensor cosine, sine;
  };

  /// `width` of a head is even.
  Rotation(const Rotary& rotary, std::int64_t width);
  /// Of the positions [first, first + length), in the type and on the device of `like`. Computed in float32, as Hugging
  /// Face does, or in float64 where that is the type.
  Angles angles(std::int64_t first, std::int64_t length, const at::Tensor& like) const;
  /// Of these positions, [B, T] on that device.
  Angles angles(const at::Tensor& positions, const at::Tensor& like) const;
  /// heads [B, T, heads, width] -> the same, turned: value i goes with value i + width / 2.
  static at::Tensor turned(const at::Tensor& heads, const Angles& angles);

 private:
  at::Tensor single_, double_;  // angle a position, [width / 2]
};

}  // namespace lshdp::model
