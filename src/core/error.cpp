// Errors of libraries and of the system in words of ours.
#include "lshdp/core/error.h"

#include <filesystem>
#include <new>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include "lshdp/core/memory.h"

namespace lshdp {
namespace {

bool holds(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

/// LibTorch has no type of its own for each of these.
bool tells_of_no_memory(std::string_view text) {
  return holds(text, "DefaultCPUAllocator") || holds(text, "out of memory");
}

std::string explain_path(const std::filesystem::filesystem_error& error) {
  const std::string cause = error.code().message();
  return error.path1().empty() ? "a file cannot be used: " + cause
                               : fmt::format("cannot use {}: {}", error.path1().string(), cause);
}

}  // namespace

std::string explain(const std::exception& error) {
  if (const auto* ours = dynamic_cast<const Error*>(&error)) return ours->what();
  if (const auto* path = dynamic_cast<const std::filesystem::filesystem_error*>(&error)) return explain_path(*path);
  if (const auto* system = dynamic_cast<const std::system_error*>(&error))
    return fmt::format("the system refused something: {}", system->code().message());
  const std::string_view text = error.what();
  if (is_out_of_memory(error) || tells_of_no_memory(text))
    return "out of memory: use a smaller batch or model, or leave more memory to this process (ulimit -v, its cgroup)";
  if (holds(text, "could not create a primitive"))
    return "oneDNN cannot prepare a computation, mostly for lack of memory (ulimit -v, the process's cgroup)";
  return fmt::format("an error that lshdp has no words for; please report it with this: {}",
                     text.substr(0, text.find('\n')));
}

}  // namespace lshdp
