// A lock on a folder, so that two processes do not write into it at once.
#pragma once
#include <filesystem>
#include <string>

namespace lshdp {

/// Held as long as it lives; the kernel lets it go when the process ends, however that comes about. The lock is on the
/// file FOLDER/.lock, which says who holds it. Whoever made the file removes it at its end.
class FolderLock {
 public:
  /// Throws UsageError "WHAT: FOLDER is in use by process 123 on HOST, since ..." if another process holds it, on any
  /// host that shares the file system. Where the file system knows no locks, a process of this host that the file
  /// names is found, and supported() is false.
  FolderLock(const std::filesystem::path& folder, const std::string& what);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  bool supported() const { return supported_; }

 private:
  void open_file(const std::string& what);
  bool is_file_of_folder() const;

  std::filesystem::path file_;
  int descriptor_ = -1;
  bool made_ = false;  // the file, by this
  bool supported_ = true;
};

}  // namespace lshdp
