// Readers of bytes from outside, each given once: ctest mutates their seeds, libFuzzer searches further
// (scripts/fuzz.sh).
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "lshdp/core/json.h"

namespace lshdp::test {

/// What ends the mutations of a test: whichever comes first.
struct Bound {
  std::int64_t inputs = 200'000;
  double seconds = 2;
};

/// How inputs are changed: as bytes, or as often as not as trees of JSON whose values are replaced, removed, repeated
/// and swapped.
enum class Mutation : std::uint8_t { bytes, json };

struct Reader {
  std::string name;
  std::function<std::vector<std::string>()> seeds;  // which it must accept
  /// Gives a value or throws an lshdp::Error, and nothing else, within two seconds. What it gives is checked by EXPECT.
  std::function<void(const std::string&)> read;
  Mutation mutation = Mutation::bytes;
  Bound bound = {};
};

/// A reader of parsed JSON.
Reader json_reader(const std::string& name, const std::function<std::vector<Json>()>& seeds,
                   const std::function<void(const Json&)>& read, Bound bound = {});

/// Those of this program: each has one file that defines it.
std::vector<Reader> readers();

}  // namespace lshdp::test
