// The errors of lshdp and the exit codes they lead to.
#pragma once
#include <exception>
#include <stdexcept>
#include <string>

namespace lshdp {

/// What every error of ours derives from: one line for a person, and the exit code of the program.
class Error : public std::runtime_error {
 public:
  Error(const std::string& message, int exit_code) : std::runtime_error(message), exit_code_(exit_code) {}
  int exit_code() const { return exit_code_; }

 private:
  int exit_code_;
};

/// Wrong usage or wrong input: exit code 2. The message names the option or file and the remedy.
class UsageError : public Error {
 public:
  explicit UsageError(const std::string& message) : Error(message, 2) {}
};

/// The run failed: exit code 1.
class RunError : public Error {
 public:
  explicit RunError(const std::string& message) : Error(message, 1) {}

 protected:
  RunError(const std::string& message, int exit_code) : Error(message, exit_code) {}
};

/// "cannot write FILE: CAUSE". Exit code 1, or 2 where no file can be there (no such folder, no permission).
class WriteError : public RunError {
 public:
  WriteError(const std::string& file, const std::string& cause) : RunError("cannot write " + file + ": " + cause) {}
  /// The cause as the system numbers it.
  WriteError(const std::string& file, int error);
};

/// An error that every rank throws at the same point, so that rank 0 alone reports it and no rank must be brought down.
class AgreedError : public Error {
 public:
  AgreedError(const std::string& message, int exit_code) : Error(message, exit_code) {}
};

/// What a person is told of `error`, in one line: the message of an Error; our words for what a library or the system
/// threw.
std::string explain(const std::exception& error);

}  // namespace lshdp
