// Drives one reader: its seeds, the inputs that were once found, and mutations of both, seeded and bounded in time.
#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "reader.h"

namespace lshdp::test {

/// Files of a reader's folder in the corpus: what coverage-guided fuzzing kept, and what it found. None where there is
/// no such folder.
std::vector<std::string> corpus_of(const std::filesystem::path& corpus, const Reader& reader);

/// Calls the reader with every seed, which it must accept, then with `found`, then with mutations of all of them. A
/// failure of the test, with the input in hexadecimal, is anything thrown but an lshdp::Error, and an input that takes
/// longer than two seconds.
void fuzz(const Reader& reader, const std::vector<std::string>& found);

}  // namespace lshdp::test
