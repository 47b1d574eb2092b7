// Runs a reader and tells what went wrong.
#include "driver.h"

#include <algorithm>
#include <csignal>
#include <exception>

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "lshdp/core/clock.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "mutate.h"

namespace lshdp::test {
namespace {

namespace fs = std::filesystem;

constexpr double kSlowSeconds = 2;
constexpr std::uint64_t kSeed = 20240229;

std::string hexadecimal(const std::string& bytes) {
  std::string text;
  for (const char c : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return text;
}

/// As text where it can be read.
std::string shown(const std::string& input) {
  const bool printable = std::all_of(input.begin(), input.end(), [](char c) { return c >= ' ' && c <= '~'; });
  return printable ? input : hexadecimal(input);
}

const std::string* being_read = nullptr;

/// A reader that ends the process leaves its input in the current folder.
void keep_input(int signal) {
  std::signal(signal, SIG_DFL);
  if (being_read != nullptr) {
    const int file = open("lshdp-fuzz-input", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    const bool written = file >= 0 && write(file, being_read->data(), being_read->size()) >= 0;
    constexpr std::string_view note = "the input is in lshdp-fuzz-input\n";
    if (written) static_cast<void>(!write(STDERR_FILENO, note.data(), note.size()));
  }
  std::raise(signal);
}

/// Runs the reader; returns a description of what went wrong, or nothing.
std::string problem_with(const Reader& reader, const std::string& input) {
  const double begun = thread_cpu_seconds();
  being_read = &input;
  try {
    reader.read(input);
  } catch (const Error&) {
    // What a bad input shall lead to.
  } catch (const std::exception& error) {
    return fmt::format("threw another error: {}", error.what());
  } catch (...) {
    return "threw something that is no exception";
  }
  being_read = nullptr;
  const double seconds = thread_cpu_seconds() - begun;
  return seconds > kSlowSeconds ? fmt::format("took {:.1f} s", seconds) : "";
}

/// One to four mutations.
std::string mutated(const Reader& reader, const std::vector<std::string>& inputs, Random& random) {
  std::string input = random.of(inputs);
  const bool as_json = reader.mutation == Mutation::json && random.below(2) == 0;
  for (std::size_t k = 1 + random.below(4); k > 0; --k) {
    if (!as_json || !mutate_json(input, random)) mutate_bytes(input, inputs, random);
  }
  return input;
}

}  // namespace

Reader json_reader(const std::string& name, const std::function<std::vector<Json>()>& seeds,
                   const std::function<void(const Json&)>& read, Bound bound) {
  const auto texts = [seeds] {
    std::vector<std::string> result;
    for (const Json& seed : seeds()) result.push_back(json_text(seed));
    return result;
  };
  return {name, texts, [read](const std::string& text) { read(parse_json(text, "F")); }, Mutation::json, bound};
}

std::vector<std::string> corpus_of(const fs::path& corpus, const Reader& reader) {
  std::vector<fs::path> paths;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(corpus / reader.name, none)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> contents;
  for (const fs::path& path : paths) contents.push_back(read_file(path));
  return contents;
}

void fuzz(const Reader& reader, const std::vector<std::string>& found) {
  for (const int signal : {SIGABRT, SIGSEGV, SIGFPE}) std::signal(signal, keep_input);
  std::vector<std::string> inputs = reader.seeds();
  for (const std::string& input : inputs) ASSERT_NO_THROW(reader.read(input)) << "a seed: " << shown(input);
  for (const std::string& input : found)
    ASSERT_EQ(problem_with(reader, input), "") << "of the corpus: " << shown(input);
  inputs.insert(inputs.end(), found.begin(), found.end());
  Random random(kSeed);
  const double deadline = now_seconds() + reader.bound.seconds;
  for (std::int64_t i = 0; i < reader.bound.inputs && now_seconds() < deadline; ++i) {
    const std::string input = mutated(reader, inputs, random);
    ASSERT_EQ(problem_with(reader, input), "") << "input " << i << ": " << shown(input);
  }
}

}  // namespace lshdp::test
