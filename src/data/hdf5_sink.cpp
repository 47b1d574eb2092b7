// The driver's functions, and the file behind them.
#include "hdf5_sink.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <unistd.h>

namespace lshdp::data {
namespace {

/// What HDF5 knows of an open file; it sees the first member only.
struct DriverFile {
  H5FD_t base;
  Hdf5Sink* sink;
  haddr_t allocated;
};

DriverFile& driver_file(H5FD_t* file) { return *reinterpret_cast<DriverFile*>(file); }
const DriverFile& driver_file(const H5FD_t* file) { return *reinterpret_cast<const DriverFile*>(file); }

H5FD_t* open_file(const char*, unsigned, hid_t access, haddr_t) {
  const auto* sink = static_cast<Hdf5Sink* const*>(H5Pget_driver_info(access));
  return sink == nullptr ? nullptr : &(new DriverFile{{}, *sink, 0})->base;
}

herr_t close_file(H5FD_t* file) {
  delete &driver_file(file);
  return 0;
}

herr_t tell_features(const H5FD_t*, unsigned long* features) {
  *features = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
              H5FD_FEAT_AGGREGATE_SMALLDATA | H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
  return 0;
}

haddr_t get_allocated(const H5FD_t* file, H5FD_mem_t) { return driver_file(file).allocated; }

herr_t set_allocated(H5FD_t* file, H5FD_mem_t, haddr_t end) {
  driver_file(file).allocated = end;
  return 0;
}

haddr_t get_size(const H5FD_t* file, H5FD_mem_t) { return driver_file(file).sink->size(); }

herr_t read_file(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t at, std::size_t size, void* bytes) {
  driver_file(file).sink->read(at, {static_cast<std::byte*>(bytes), size});
  return 0;
}

herr_t write_file(H5FD_t* file, H5FD_mem_t kind, hid_t, haddr_t at, std::size_t size, const void* bytes) {
  driver_file(file).sink->write(at, {static_cast<const std::byte*>(bytes), size}, kind != H5FD_MEM_DRAW);
  return 0;
}

herr_t truncate_file(H5FD_t* file, hid_t, hbool_t) {
  driver_file(file).sink->truncate(driver_file(file).allocated);
  return 0;
}

H5FD_class_t driver_class() {
  H5FD_class_t driver{};
  driver.name = "lshdp sink";
  driver.maxaddr = haddr_t{1} << 62;
  driver.fc_degree = H5F_CLOSE_WEAK;
  driver.fapl_size = sizeof(Hdf5Sink*);
  driver.open = open_file;
  driver.close = close_file;
  driver.query = tell_features;
  driver.get_eoa = get_allocated;
  driver.set_eoa = set_allocated;
  driver.get_eof = get_size;
  driver.read = read_file;
  driver.write = write_file;
  driver.truncate = truncate_file;
  const H5FD_mem_t one_list[H5FD_MEM_NTYPES] = H5FD_FLMAP_DICHOTOMY;
  std::copy(std::begin(one_list), std::end(one_list), driver.fl_map);
  return driver;
}

/// Registered once, for as long as the library is.
hid_t driver_id() {
  static const H5FD_class_t driver = driver_class();
  static const hid_t id = H5FDregister(&driver);
  return id;
}

}  // namespace

Hdf5Sink::~Hdf5Sink() { ::close(descriptor_); }

void Hdf5Sink::use_in(H5::FileAccPropList& access) const {
  const Hdf5Sink* const self = this;
  access.setDriver(driver_id(), &self);
}

void Hdf5Sink::read(std::uint64_t at, std::span<std::byte> bytes) const {
  std::ranges::fill(bytes, std::byte{0});
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t count = ::pread(descriptor_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(at + done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    done += static_cast<std::size_t>(count);
  }
  for (const auto& [begin, part] : refused_) {
    const std::uint64_t from = std::max(begin, at), to = std::min(begin + part.size(), at + bytes.size());
    if (from < to) std::memcpy(bytes.data() + (from - at), part.data() + (from - begin), to - from);
  }
}

void Hdf5Sink::write(std::uint64_t at, std::span<const std::byte> bytes, bool is_metadata) {
  size_ = std::max(size_, at + bytes.size());
  for (std::size_t done = 0; error_ == 0 && done < bytes.size();) {
    const ssize_t count =
        ::pwrite(descriptor_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(at + done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      error_ = count < 0 ? errno : ENOSPC;
    } else {
      done += static_cast<std::size_t>(count);
    }
  }
  if (error_ != 0 && is_metadata) refused_.emplace_back(at, std::vector<std::byte>(bytes.begin(), bytes.end()));
}

void Hdf5Sink::truncate(std::uint64_t size) {
  size_ = size;
  if (error_ == 0 && ::ftruncate(descriptor_, static_cast<off_t>(size)) != 0) error_ = errno;
}

}  // namespace lshdp::data
