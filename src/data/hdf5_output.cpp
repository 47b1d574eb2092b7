// HDF5 files written under a temporary name; a failed write leaves no file and one clear error.
#include "lshdp/data/hdf5_output.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <fmt/format.h>

#include "hdf5_file.h"
#include "hdf5_sink.h"
#include "lshdp/core/file.h"

namespace lshdp::data {
namespace {

namespace fs = std::filesystem;

/// Attributes may be larger than 64 KiB (many class names) only from format 1.8 on.
H5::FileAccPropList access_to(const Hdf5Sink& sink) {
  H5::FileAccPropList list;
  list.setLibverBounds(H5F_LIBVER_V18, H5F_LIBVER_LATEST);
  sink.use_in(list);
  return list;
}

/// The descriptor of a new, empty file. A place where none can be is wrong usage, a full disk is not.
int created(const fs::path& temporary, const fs::path& path) {
  const int descriptor = ::open(temporary.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor >= 0) return descriptor;
  const int error = errno;
  if (error == ENOSPC || error == EDQUOT) throw WriteError(path.string(), error);
  throw UsageError(fmt::format("cannot create {}: {}", path.string(), std::strerror(error)));
}

}  // namespace

class Hdf5Output::Cause : public Hdf5Cause {};

Hdf5Output::Hdf5Output(const fs::path& path)
    : path_(path), temporary_(path.string() + ".tmp"), sink_(std::make_unique<Hdf5Sink>(created(temporary_, path_))) {
  guarded([&] {
    file_ = H5::H5File(temporary_.string(), H5F_ACC_TRUNC, H5::FileCreatPropList::DEFAULT, access_to(*sink_));
  });
}

Hdf5Output::~Hdf5Output() { discard(); }

void Hdf5Output::begin_writing() { cause_ = std::make_unique<Cause>(); }

void Hdf5Output::end_writing() { cause_.reset(); }

void Hdf5Output::require_written() {
  if (sink_->error() == 0) return;
  const int error = sink_->error();
  end_writing();
  discard();
  throw WriteError(path_.string(), error);
}

void Hdf5Output::fail(const H5::Exception& error) {
  require_written();
  const std::string text = cause_->text().empty() ? error.getDetailMsg() : cause_->text();
  end_writing();
  discard();
  throw WriteError(path_.string(), text);
}

H5::DataSet& Hdf5Output::create(const std::string& name, const H5::PredType& type, const std::vector<hsize_t>& shape,
                                const std::vector<hsize_t>& chunk, bool compressed) {
  H5::DSetCreatPropList layout;
  if (!chunk.empty()) layout.setChunk(static_cast<int>(chunk.size()), chunk.data());
  if (compressed) layout.setDeflate(6);
  const H5::DataSpace space(static_cast<int>(shape.size()), shape.data());
  return arrays_.emplace_back(file_.createDataSet(name, type, space, layout));
}

H5::Group& Hdf5Output::create_group(const std::string& name) { return groups_.emplace_back(file_.createGroup(name)); }

void Hdf5Output::describe(const char* name, const std::vector<std::string>& texts, bool scalar) {
  if (texts.empty()) return;
  H5::StrType type(H5::PredType::C_S1, H5T_VARIABLE);
  type.setCset(H5T_CSET_UTF8);
  std::vector<const char*> pointers;
  for (const std::string& text : texts) pointers.push_back(text.c_str());
  const hsize_t count = texts.size();
  const H5::DataSpace space = scalar ? H5::DataSpace(H5S_SCALAR) : H5::DataSpace(1, &count);
  file_.createAttribute(name, type, space).write(type, pointers.data());
}

void Hdf5Output::describe(const char* name, const std::vector<double>& numbers) {
  const hsize_t count = numbers.size();
  file_.createAttribute(name, H5::PredType::IEEE_F64LE, H5::DataSpace(1, &count))
      .write(H5::PredType::NATIVE_DOUBLE, numbers.data());
}

void Hdf5Output::describe(const char* name, std::int64_t number) {
  file_.createAttribute(name, H5::PredType::STD_I64LE, H5::DataSpace(H5S_SCALAR))
      .write(H5::PredType::NATIVE_INT64, &number);
}

void Hdf5Output::embed(const char* name, const std::string& content) {
  if (content.empty()) return;
  const std::vector<hsize_t> shape{content.size()};
  create(name, H5::PredType::STD_U8LE, shape, shape, true).write(content.data(), H5::PredType::NATIVE_UINT8);
}

void Hdf5Output::commit() {
  guarded([&] {
    file_.flush(H5F_SCOPE_LOCAL);
    close();
  });
  finished_ = true;
  commit_file(temporary_, path_);
}

void Hdf5Output::close() {
  for (H5::DataSet& array : arrays_) array.close();
  for (H5::Group& group : groups_) group.close();
  file_.close();
}

void Hdf5Output::discard() {
  if (finished_) return;
  finished_ = true;
  const Hdf5Cause silent;
  std::error_code ignored;
  fs::remove(temporary_, ignored);
  try {
    close();
  } catch (const H5::Exception&) {
    // What made us discard the file is being reported; that closing it failed as well is no news.
  }
}

}  // namespace lshdp::data
