// Runs of parameters in HDF5.
#include "rank_file.h"

#include <algorithm>
#include <limits>

#include <ATen/ATen.h>
#include <H5Cpp.h>
#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/data/hdf5_input.h"
#include "weight_average.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;
using parallel::StatePiece;

constexpr std::int64_t kSlab = 1 << 20;  // elements

/// A parameter's name as HDF5 takes it: its own slashes would be groups.
std::string group_name(const std::string& parameter) {
  std::string name = "/";
  for (const char c : parameter) name += c == '/' ? "%2F" : c == '%' ? "%25" : std::string(1, c);
  return name;
}

/// The reverse.
std::string parameter_of_group(const std::string& group) {
  std::string name;
  for (std::size_t at = 0; at < group.size(); ++at) {
    const std::string_view code = std::string_view(group).substr(at, 3);
    const bool coded = code == "%2F" || code == "%25";
    name += coded ? (code == "%2F" ? '/' : '%') : group[at];
    if (coded) at += 2;
  }
  return name;
}

const H5::PredType& stored_type(at::ScalarType type) {
  return type == at::kDouble ? H5::PredType::NATIVE_DOUBLE : H5::PredType::NATIVE_FLOAT;
}

/// In slabs: others of this process that use HDF5 wait for one at a time, and one of a device is held beside it.
void write_tensor(data::Hdf5Output& output, const std::string& name, const at::Tensor& tensor) {
  const H5::PredType& type = stored_type(tensor.scalar_type());
  H5::DataSet& set = output.create(name, type, {static_cast<hsize_t>(tensor.numel())}, {});
  for (std::int64_t begin = 0; begin < tensor.numel(); begin += kSlab) {
    const std::int64_t count = std::min(kSlab, tensor.numel() - begin);
    const at::Tensor host = tensor.narrow(0, begin, count).to(at::kCPU).contiguous();  // HDF5 reads host memory only
    const auto size = static_cast<hsize_t>(count), offset = static_cast<hsize_t>(begin);
    H5::DataSpace place = set.getSpace();
    place.selectHyperslab(H5S_SELECT_SET, &size, &offset);
    set.write(host.const_data_ptr(), type, H5::DataSpace(1, &size), place);
  }
}

void write_piece(data::Hdf5Output& output, const StatePiece& piece) {
  const std::string name = group_name(piece.name);
  output.create_group(name)
      .createAttribute("begin", H5::PredType::NATIVE_INT64, H5::DataSpace(H5S_SCALAR))
      .write(H5::PredType::NATIVE_INT64, &piece.begin);
  write_tensor(output, name + "/value", piece.value);
  if (piece.first_moment.defined()) write_tensor(output, name + "/first_moment", piece.first_moment);
  if (piece.second_moment.defined()) write_tensor(output, name + "/second_moment", piece.second_moment);
}

[[noreturn]] void refuse(const fs::path& path, const std::string& problem) {
  throw UsageError(fmt::format("cannot read {}: the file is damaged: {}", path.string(), problem));
}

/// Of an attribute. Of several numbers HDF5 would write all to where there is room for one.
std::int64_t whole_number(const H5::H5Object& object, const char* name, const fs::path& path) {
  const H5::Attribute attribute = object.openAttribute(name);
  if (attribute.getTypeClass() != H5T_INTEGER || attribute.getSpace().getSimpleExtentNpoints() != 1)
    refuse(path, fmt::format("'{}' must be one whole number", name));
  std::int64_t value = 0;
  attribute.read(H5::PredType::NATIVE_INT64, &value);
  return value;
}

/// Elements of an array, whose shape must have one dimension, as what is selected of it has.
std::int64_t elements_of(const H5::DataSet& set, const char* name, const fs::path& path) {
  const H5::DataSpace space = set.getSpace();
  if (space.getSimpleExtentNdims() != 1) refuse(path, fmt::format("'{}' must have one dimension", name));
  return space.getSimpleExtentNpoints();
}

void require_step(const H5::H5File& file, const fs::path& path, std::int64_t expected) {
  const std::int64_t step = file.attrExists("step") ? whole_number(file, "step", path) : -1;
  if (step == expected) return;
  throw UsageError(step < 0
                       ? fmt::format("{} does not say of which step it is", path.string())
                       : fmt::format("{} is of step {}, its checkpoint of step {}", path.string(), step, expected));
}

/// A run of one parameter's elements in a rank's file.
struct StoredRun {
  const fs::path& path;
  H5::Group group;
  std::int64_t begin = 0, count = 0;
};

StoredRun open_run(const H5::Group& group, const fs::path& path) {
  StoredRun run{path, group};
  run.begin = whole_number(group, "begin", path);
  run.count = elements_of(group.openDataSet("value"), "value", path);
  if (run.begin < 0 || run.begin > std::numeric_limits<std::int64_t>::max() - run.count)
    refuse(path, fmt::format("a run cannot begin at element {}", run.begin));
  return run;
}

void read_part(const StoredRun& run, const char* name, std::int64_t begin, const at::Tensor& into) {
  const H5::DataSet set = run.group.openDataSet(name);
  if (elements_of(set, name, run.path) != run.count)
    refuse(run.path, fmt::format("'{}' is not as long as 'value'", name));
  const H5::DataSpace space = set.getSpace();
  const hsize_t count = static_cast<hsize_t>(into.numel()), offset = static_cast<hsize_t>(begin - run.begin);
  space.selectHyperslab(H5S_SELECT_SET, &count, &offset);
  at::Tensor values = at::empty({into.numel()}, into.scalar_type());
  set.read(values.data_ptr(), stored_type(into.scalar_type()), H5::DataSpace(1, &count), space);
  into.copy_(values);
}

/// Reads the elements of `piece` that a run holds, and returns them. Moments are read where the piece has them.
ElementRun read_from_run(const StoredRun& run, const StatePiece& piece) {
  const std::int64_t end = piece.begin + piece.value.numel();
  const std::int64_t from = std::max(piece.begin, run.begin), to = std::min(end, run.begin + run.count);
  if (from >= to) return {};
  const auto part = [&](const at::Tensor& tensor) { return tensor.narrow(0, from - piece.begin, to - from); };
  read_part(run, "value", from, part(piece.value));
  if (piece.first_moment.defined()) read_part(run, "first_moment", from, part(piece.first_moment));
  if (piece.second_moment.defined()) read_part(run, "second_moment", from, part(piece.second_moment));
  return {from, to};
}

}  // namespace

std::string rank_file_name(int rank) { return fmt::format("rank-{}.h5", rank); }

RankFileWriter::RankFileWriter(const fs::path& path, std::int64_t step) : output_(path) {
  output_.guarded([&] { output_.describe("step", step); });
}

void RankFileWriter::write(const StatePiece& piece) {
  output_.guarded([&] { write_piece(output_, piece); });
}

std::string gap_in(std::vector<ElementRun> runs, const ElementRun& wanted) {
  std::erase_if(runs, [](const ElementRun& run) { return run.begin == run.end; });
  std::ranges::sort(runs);
  std::int64_t next = wanted.begin;
  for (const ElementRun& run : runs) {
    if (run.begin > next) return fmt::format("elements {} to {} are missing", next, run.begin - 1);
    if (run.begin < next)
      return fmt::format("elements {} to {} are there twice", run.begin, std::min(next, run.end) - 1);
    next = run.end;
  }
  if (next < wanted.end) return fmt::format("elements {} to {} are missing", next, wanted.end - 1);
  return next > wanted.end ? fmt::format("it has {} elements, and not {}", next, wanted.end) : "";
}

void read_rank_file(const fs::path& path, std::int64_t step, const std::vector<StatePiece>& pieces,
                    std::vector<std::vector<ElementRun>>& filled) {
  const H5::H5File file = data::open_hdf5(path);
  data::reading_hdf5(path, [&] {
    require_step(file, path, step);
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      const std::string name = group_name(pieces[i].name);
      if (file.nameExists(name)) filled[i].push_back(read_from_run(open_run(file.openGroup(name), path), pieces[i]));
    }
  });
}

ElementRuns runs_in_rank_file(const fs::path& path) {
  ElementRuns runs;
  const H5::H5File file = data::open_hdf5(path);
  data::reading_hdf5(path, [&] {
    for (hsize_t i = 0; i < file.getNumObjs(); ++i) {
      const std::string name = file.getObjnameByIdx(i), parameter = parameter_of_group(name);
      const StoredRun run = open_run(file.openGroup(name), path);
      runs[parameter].push_back({run.begin, run.begin + run.count});
      if (is_average(parameter)) continue;
      for (const char* moment : {"first_moment", "second_moment"}) {
        if (!run.group.nameExists(moment) || elements_of(run.group.openDataSet(moment), moment, path) != run.count)
          refuse(path, fmt::format("it has not one {} for each value of {}", moment, parameter));
      }
    }
  });
  return runs;
}

}  // namespace lshdp::train
