// A small mutational fuzzer: seeded, bounded in time, checking that a parser gives a value or an lshdp::Error, nothing
// else.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "lshdp/core/json.h"

namespace lshdp::test {

/// What ends a fuzzing: whichever comes first.
struct Bound {
  std::int64_t inputs = 200'000;
  double seconds = 4;
};

/// Calls `parse` with every entry of `corpus`, which it must accept, and then with mutations of them: flipped bits,
/// bytes changed, cut, repeated, inserted and moved between entries, and numbers replaced by extreme ones. A test
/// failure, with the input in hexadecimal, is anything thrown but an lshdp::Error, and an input that takes longer than
/// two seconds.
void fuzz_bytes(const std::vector<std::string>& corpus, const std::function<void(const std::string&)>& parse,
                Bound bound = {});

/// As fuzz_bytes for what reads parsed JSON: values of the tree are replaced, removed, repeated and swapped.
void fuzz_json(const std::vector<Json>& corpus, const std::function<void(const Json&)>& read, Bound bound = {});

}  // namespace lshdp::test
