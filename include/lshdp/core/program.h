// Which program this is: version, sources and build, so that nodes with different ones can be told apart.
#pragma once
#include <string>
#include <string_view>

namespace lshdp {

struct Program {
  std::string version;  // program_version()
  std::string sources;  // a checksum of the sources it was built from: the same wherever they are built
  std::string build;    // compiler, kind of build, and where: the same for builds that should be alike to the byte
};
Program this_program();

/// The checksum of the running executable. Throws UsageError if it cannot be read.
std::string executable_checksum();

/// Path of the shared library that this process has loaded and whose file name begins so; empty where there is none.
std::string loaded_library(std::string_view name);

}  // namespace lshdp
