// The end of all ranks after an error.
#pragma once

namespace lshdp::comm {

/// MPI_Abort. Where the launcher does not answer, because this host is cut off from it, this process ends alone.
[[noreturn]] void abort_ranks(int exit_code);

}  // namespace lshdp::comm
