// The frame of every command that runs on ranks: session, communicator, errors.
#include "lshdp/cli/mpi_command.h"

#include <array>

#include <fmt/format.h>
#include <unistd.h>

#include "lshdp/cli/launch.h"
#include "lshdp/comm/mpi_communicator.h"
#include "lshdp/core/error.h"

namespace lshdp::cli {
namespace {

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown host";
}

[[noreturn]] void bring_down(comm::MpiSession& session, const std::string& command, const std::string& message,
                             int exit_code) {
  print_error(command, fmt::format("rank {} ({}): {}", session.rank(), host_name(), message));
  session.abort(exit_code);
}

}  // namespace

int with_ranks(const std::string& command, const std::function<void(comm::Communicator&)>& body) {
  comm::MpiSession session(nullptr, nullptr);
  const auto communicator = comm::make_mpi_communicator(session);
  try {
    body(*communicator);
    return 0;
  } catch (const AgreedError& error) {
    // Printed while MPI is up: its end waits for all ranks, so no rank's exit can make the launcher kill this one
    // first.
    if (session.rank() == 0) print_error(command, error.what());
    return error.exit_code();
  } catch (const Error& error) {
    bring_down(session, command, error.what(), error.exit_code());
  } catch (const std::exception& error) {
    bring_down(session, command, one_line(error), 1);
  }
}

}  // namespace lshdp::cli
