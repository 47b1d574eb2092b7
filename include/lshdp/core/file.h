// Files that are either whole or absent: written beside their name, flushed to disk, then renamed.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace lshdp {

/// The whole file. Throws UsageError "cannot read PATH: cause".
std::string read_file(const std::filesystem::path& path);

/// Writes `content` to PATH.tmp, fsyncs, renames to PATH. Throws WriteError "cannot write PATH: cause" (disk full,
/// permission) and leaves neither a partial PATH nor the temporary file behind.
void write_file(const std::filesystem::path& path, std::string_view content);

/// fsyncs `temporary`, renames it to `path` and fsyncs the folder: the last half of write_file, for files a library
/// wrote.
void commit_file(const std::filesystem::path& temporary, const std::filesystem::path& path);

/// Appends whole lines to a file; a full disk is an error at the line that did not fit.
class LineWriter {
 public:
  /// Opens for appending, or truncates. Throws WriteError.
  LineWriter(const std::filesystem::path& path, bool append);
  ~LineWriter();
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;
  /// Writes `line` and a newline through to the file system. Throws WriteError.
  void write(std::string_view line);

 private:
  std::filesystem::path path_;
  int descriptor_;
};

/// Throws UsageError if writing `output` would replace one of `inputs`: the same file, also under another name (a link,
/// another path) or as PATH.tmp. `option` is what named the output ("--out"); inputs that are empty or do not exist do
/// not count. Call it before any work.
void refuse_overwriting(std::string_view option, const std::filesystem::path& output,
                        const std::vector<std::filesystem::path>& inputs);

/// Folders that were made because they were missing. Those that are still empty at its end are removed again, so that
/// work that was refused leaves none behind.
class NewFolders {
 public:
  NewFolders() = default;
  /// Makes `folder` and what is missing above it. Throws as refuse_output(), naming `what`.
  NewFolders(const std::filesystem::path& folder, std::string_view what);
  ~NewFolders();
  NewFolders(NewFolders&& other) noexcept;
  NewFolders& operator=(NewFolders&& other) noexcept;

 private:
  std::vector<std::filesystem::path> made_;  // the innermost first
};

/// Proves, before any work, that write_file can write `path`: makes its folder, which must be held until the file is
/// written, and PATH.tmp for a moment. Throws UsageError naming `option` where PATH is a folder, a device, a pipe or
/// not allowed; RunError where the disk is full.
[[nodiscard]] NewFolders require_writable_file(const std::filesystem::path& path, std::string_view option);

/// Throws "MESSAGE: CAUSE" of an output that the system refused with `error`: UsageError for a name or a permission,
/// which are the user's to mend, RunError for a full or failing disk.
[[noreturn]] void refuse_output(const std::string& message, int error);

/// Makes the folder and proves that files can be written into it. Throws UsageError naming `what`, RunError: full disk.
[[nodiscard]] NewFolders require_writable_folder(const std::filesystem::path& folder, std::string_view what);

}  // namespace lshdp
