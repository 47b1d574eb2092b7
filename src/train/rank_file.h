// The HDF5 file with the state that one rank owns: /PARAMETER/{value, first_moment, second_moment}, each a run of
// elements with its first index; of the moving average of a parameter value alone.
#pragma once
#include <compare>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "lshdp/data/hdf5_output.h"
#include "lshdp/parallel/store.h"

namespace lshdp::train {

/// Elements [begin, end) of a parameter, in its own row-major order.
struct ElementRun {
  std::int64_t begin = 0, end = 0;
  auto operator<=>(const ElementRun&) const = default;
};
using ElementRuns = std::map<std::string, std::vector<ElementRun>>;  // by parameter

/// What runs lack of `wanted`, or hold twice, or beyond it, in words; empty: they are it.
std::string gap_in(std::vector<ElementRun> runs, const ElementRun& wanted);

/// "rank-3.h5".
std::string rank_file_name(int rank);

/// Written piece by piece. One that is destroyed before commit() leaves no file.
class RankFileWriter {
 public:
  /// `step`: of which the state is. Throws UsageError, WriteError.
  RankFileWriter(const std::filesystem::path& path, std::int64_t step);
  /// The piece's tensors may change afterwards. Throws WriteError.
  void write(const parallel::StatePiece& piece);
  /// Throws WriteError.
  void commit() { output_.commit(); }

 private:
  data::Hdf5Output output_;
};

/// Reads the elements of each piece that the file holds, moments where the piece has them, and adds which they were to
/// `filled`, by piece. Throws UsageError naming the file: damaged, of another step.
void read_rank_file(const std::filesystem::path& path, std::int64_t step,
                    const std::vector<parallel::StatePiece>& pieces, std::vector<std::vector<ElementRun>>& filled);

/// What the file holds, with a first and a second moment for each value but averages. Throws UsageError naming the
/// file: damaged.
ElementRuns runs_in_rank_file(const std::filesystem::path& path);

}  // namespace lshdp::train
