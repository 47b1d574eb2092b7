// A file of some content, for readers that want a path.
#pragma once
#include <filesystem>
#include <string_view>

namespace lshdp::test {

/// In the folder for temporary files; gone with this object. Throws std::runtime_error.
class ScratchFile {
 public:
  explicit ScratchFile(std::string_view content);
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace lshdp::test
