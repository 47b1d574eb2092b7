// HDF5 files written under a temporary name; a failed write leaves no file and one clear error.
#include "lshdp/data/hdf5_output.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "hdf5_file.h"
#include "lshdp/core/file.h"

namespace lshdp::data {
namespace {

namespace fs = std::filesystem;

void require_creatable(const fs::path& temporary, const fs::path& path) {
  const int descriptor = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor < 0) {
    const WriteError error(path.string(), errno);
    if (error.exit_code() == 1) throw error;
    throw UsageError(fmt::format("cannot create {}: {}", path.string(), std::strerror(errno)));
  }
  ::close(descriptor);
}

/// Attributes may be larger than 64 KiB (many class names) only from format 1.8 on. Nobody else knows the temporary
/// name, so no lock is needed, which some file systems do not have.
H5::FileAccPropList access() {
  H5::FileAccPropList list;
  H5Pset_file_locking(list.getId(), /*use_file_locking=*/0, /*ignore_when_disabled=*/1);
  list.setLibverBounds(H5F_LIBVER_V18, H5F_LIBVER_LATEST);
  return list;
}

/// The part of HDF5's message a person needs.
std::string readable(const std::string& cause) {
  const std::string message = system_message(cause);
  return message.empty() ? cause : message;
}

/// HDF5 cannot let go of a file whose last write failed: closing would write again, fail again, and so on until the
/// process ends. So its descriptor is pointed at anonymous memory, where what is left in its caches can go; a limit on
/// the size of files, which may be why the write failed, must not stop that.
void redirect_to_memory(int descriptor) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  const int memory = ::memfd_create("discarded", MFD_CLOEXEC);
  if (memory < 0) return;
  ::dup2(memory, descriptor);
  ::close(memory);
}

}  // namespace

class Hdf5Output::Cause : public Hdf5Cause {};

Hdf5Output::Hdf5Output(const fs::path& path) : path_(path), temporary_(path.string() + ".tmp") {
  require_creatable(temporary_, path_);
  guarded([&] { file_ = H5::H5File(temporary_.string(), H5F_ACC_TRUNC, H5::FileCreatPropList::DEFAULT, access()); });
}

Hdf5Output::~Hdf5Output() { discard(); }

void Hdf5Output::begin_writing() { cause_ = std::make_unique<Cause>(); }

void Hdf5Output::end_writing() { cause_.reset(); }

void Hdf5Output::fail(const H5::Exception& error) {
  const std::string text = cause_->text().empty() ? error.getDetailMsg() : readable(cause_->text());
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

/// The file last: HDF5 must not see a handle of a file that it has let go of.
void Hdf5Output::close() {
  for (H5::DataSet& array : arrays_) array.close();
  for (H5::Group& group : groups_) group.close();
  file_.close();
}

/// Each by itself: that closing one failed as well, after the error that is being reported, is no news.
void Hdf5Output::close_quietly() {
  const auto quietly = [](auto& handle) {
    try {
      handle.close();
    } catch (const H5::Exception&) {
    }
  };
  std::ranges::for_each(arrays_, quietly);
  std::ranges::for_each(groups_, quietly);
  quietly(file_);
}

void Hdf5Output::discard() {
  if (finished_) return;
  finished_ = true;
  const Hdf5Cause silent;
  void* descriptor = nullptr;
  if (file_.getId() > 0 && H5Fget_vfd_handle(file_.getId(), H5P_DEFAULT, &descriptor) >= 0) {
    redirect_to_memory(*static_cast<int*>(descriptor));
  }
  std::error_code ignored;
  fs::remove(temporary_, ignored);
  close_quietly();
}

}  // namespace lshdp::data
