// Standard output: what a command prints is there, or the command fails.
#pragma once
#include <string_view>

#include <fmt/format.h>

namespace lshdp {

/// For the begin of main. A reader of standard output that went away is then an error of print_output and not a signal
/// that ends the process without a word; files that are opened never take the place of a closed standard stream.
void guard_standard_streams();

/// Writes `text` through to the system. Throws RunError "cannot write standard output: CAUSE".
void print_output(std::string_view text);

template <typename... Values>
void print_output(fmt::format_string<Values...> format, const Values&... values) requires(sizeof...(Values) > 0) {
  print_output(std::string_view(fmt::vformat(format, fmt::make_format_args(values...))));
}

}  // namespace lshdp
