// What libFuzzer calls: the reader that LSHDP_FUZZ_READER names. `list` prints the readers of this program, `seeds DIR`
// writes each one's into DIR/NAME.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <string_view>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include "lshdp/core/error.h"
#include "mutate.h"
#include "reader.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

namespace lshdp::test {
namespace {

namespace fs = std::filesystem;

void write_seeds(const fs::path& folder) {
  for (const Reader& reader : readers()) {
    fs::create_directories(folder / reader.name);
    int number = 0;
    for (const std::string& seed : reader.seeds())
      std::ofstream(folder / reader.name / fmt::format("seed-{:02}", number++), std::ios::binary) << seed;
  }
}

[[noreturn]] void serve(std::string_view command, int argc, char** argv) {
  if (command == "list") {
    for (const Reader& reader : readers()) std::puts(reader.name.c_str());
    std::exit(0);
  }
  if (command == "seeds" && argc == 3) {
    write_seeds(argv[2]);
    std::exit(0);
  }
  std::fputs("give list, or seeds DIR, or name a reader in LSHDP_FUZZ_READER\n", stderr);
  std::exit(2);
}

/// Made at the first use and never destroyed: libFuzzer ends the process in the middle of things.
const Reader& chosen() {
  static const Reader* const reader = [] {
    const char* name = std::getenv("LSHDP_FUZZ_READER");
    for (Reader& known : readers()) {
      if (name != nullptr && known.name == name) return new Reader(std::move(known));
    }
    std::fprintf(stderr, "LSHDP_FUZZ_READER is no reader of this program\n");
    std::exit(2);
  }();
  return *reader;
}

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "the reader %s threw another error: %s\n", chosen().name.c_str(), what);
  std::abort();
}

}  // namespace
}  // namespace lshdp::test

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  if (*argc > 1 && (*argv)[1][0] != '-' && std::getenv("LSHDP_FUZZ_READER") == nullptr)
    lshdp::test::serve((*argv)[1], *argc, *argv);
  testing::InitGoogleTest();
  GTEST_FLAG_SET(throw_on_failure, true);  // an EXPECT that fails ends the process
  spdlog::set_level(spdlog::level::off);
  lshdp::test::chosen();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    lshdp::test::chosen().read({reinterpret_cast<const char*>(data), size});
  } catch (const lshdp::Error&) {
    // What a bad input shall lead to.
  } catch (const std::exception& error) {
    lshdp::test::fail(error.what());
  }
  return 0;
}

/// JSON is changed as a tree as often as not.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
  using lshdp::test::Mutation;
  lshdp::test::Random random(seed);
  if (lshdp::test::chosen().mutation != Mutation::json || random.below(2) == 0)
    return LLVMFuzzerMutate(data, size, most);
  std::string text(reinterpret_cast<const char*>(data), size);
  if (!lshdp::test::mutate_json(text, random) || text.size() > most) return LLVMFuzzerMutate(data, size, most);
  std::memcpy(data, text.data(), text.size());
  return text.size();
}
