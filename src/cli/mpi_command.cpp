// The frame of every command that runs on ranks: session, communicator, errors.
#include "lshdp/cli/mpi_command.h"

#include <memory>

#include <fmt/format.h>

#include "lshdp/cli/launch.h"
#include "lshdp/comm/agree.h"
#include "lshdp/comm/hosts.h"
#include "lshdp/comm/mpi_communicator.h"
#include "lshdp/comm/same.h"
#include "lshdp/core/clock.h"
#include "lshdp/core/error.h"
#include "lshdp/core/host.h"
#include "lshdp/core/output.h"
#include "lshdp/core/program.h"
#include "rank_options.h"
#include "same_start.h"
#include "separate_starts.h"

namespace lshdp::cli {
namespace {

[[noreturn]] void bring_down(comm::MpiSession& session, const std::string& command, const std::string& message,
                             int exit_code) {
  print_error(command, fmt::format("rank {} ({}): {}", session.rank(), host_name(), message));
  session.abort(exit_code);
}

/// The first process says it for all; the others give it time to, because a launcher may end all when one has failed.
int refuse_separate_starts(const std::string& command, const OtherLauncher& launcher) {
  if (launcher.number == 0) {
    print_error(command, separate_starts_message(launcher));
  } else {
    sleep_until(now_seconds() + 2);
  }
  return 2;
}

/// Before anything else is exchanged: programs of other sources, and other commands, may not understand each other's
/// messages.
void require_same_command(comm::Communicator& communicator, const std::string& command) {
  if (communicator.size() == 1) return;
  const Program program = this_program();
  comm::require_same(communicator, {{"the program", fmt::format("{} (sources {})", program.version, program.sources)}},
                     "start one version on all nodes");
  comm::require_same(communicator, {{"the command", command}}, "start one command on all ranks");
}

/// Runs `body` under the policy of with_ranks.
int run_in_session(const std::string& command, const std::function<void(comm::Communicator&)>& body,
                   double connection_seconds = comm::kConnectionLimit, const comm::EngineOptions& engine = {}) {
  comm::MpiSession session(nullptr, nullptr);
  std::unique_ptr<comm::Communicator> communicator;
  try {
    comm::require_connections(session, connection_seconds);
    communicator = comm::make_mpi_communicator(session, engine);
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
    bring_down(session, command, explain(error), 1);
  } catch (...) {
    bring_down(session, command, kNoWords, 1);
  }
}

int on_ranks(const std::string& command, const std::function<void(comm::Communicator&)>& body,
             double connection_seconds, const comm::EngineOptions& engine) {
  const std::optional<OtherLauncher> launcher = other_launcher();
  if (launcher && !launcher->has_pmi) return refuse_separate_starts(command, *launcher);
  int refused = 0;
  const auto whole = [&](comm::Communicator& communicator) {
    if (launcher && communicator.size() == 1) {
      refused = refuse_separate_starts(command, *launcher);
      return;
    }
    comm::agree(communicator, [] {});  // with the ranks that are in fail_before_ranks
    require_same_command(communicator, command);
    body(communicator);
  };
  const int code = run_in_session(command, whole, connection_seconds, engine);
  return refused != 0 ? refused : code;
}

}  // namespace

int with_ranks(const std::string& command, const std::function<void(comm::Communicator&)>& body,
               double connection_seconds) {
  return on_ranks(command, body, connection_seconds, {});
}

int fail_before_ranks(const std::string& command, const std::string& message, int exit_code) {
  const int rank = launch_rank();
  if (rank != 0 && ranks_of_mpirun() == 1) {
    // Another launcher, which need not end ranks when one fails: they must not wait for each other in MPI.
    sleep_until(now_seconds() + 2);
    print_error(command, fmt::format("rank {}: {}", rank, message));
    return exit_code;
  }
  if (rank == 0) {
    print_error(command, message);
    return exit_code;
  }
  try {
    return run_in_session(command, [&](comm::Communicator& communicator) {
      comm::agree(communicator, [&] { throw AgreedError(message, exit_code); });
    });
  } catch (const std::exception&) {  // MPI cannot be started, which rank 0 says as well
    return exit_code;
  }
}

int end_without_ranks(const std::string& what) {
  if (ranks_of_mpirun() == 1 || comm::MpiSession::was_started()) return 0;
  return with_ranks(what, [](comm::Communicator&) {});
}

void print_on_rank_0(comm::Communicator& communicator, const std::string& text) {
  comm::on_rank_0(communicator, [&]() -> std::string {
    print_output(text);
    return "";
  });
}

int with_ranks(const std::string& command, const Values& values, const std::function<void(comm::Communicator&)>& body) {
  const auto whole = [&](comm::Communicator& communicator) {
    require_same_start(communicator, values);
    body(communicator);
  };
  return on_ranks(command, whole, comm::kConnectionLimit, engine_options(values));
}

}  // namespace lshdp::cli
