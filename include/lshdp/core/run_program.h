// Runs other programs, without a shell.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lshdp {

/// The executable file that `name` stands for in PATH; none: there is none.
std::optional<std::filesystem::path> find_program(std::string_view name);

/// Runs arguments[0], found in PATH, with our standard streams, and returns its exit code, or 128 and the signal that
/// ended it. `input`: what it reads instead of our standard input. Throws RunError if it cannot be started.
int run_program(std::vector<std::string> arguments, std::optional<std::string_view> input = {});

}  // namespace lshdp
