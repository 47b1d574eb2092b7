// Memory files that other processes of the node open by way of /proc, and a process-shared mutex and condition in them.
#include "lshdp/comm/node.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <random>
#include <sstream>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lshdp/comm/agree.h"
#include "lshdp/comm/hosts.h"
#include "lshdp/core/error.h"
#include "lshdp/core/text.h"

namespace lshdp::comm {
namespace {

// How long a waiter sleeps before it looks whether to give up: nobody rings for that.
constexpr std::int64_t kPatienceNanoseconds = 50'000'000;

/// A file descriptor that closes itself.
class File {
 public:
  explicit File(int descriptor = -1) : descriptor_(descriptor) {}
  ~File() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  File(File&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  File& operator=(File&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

[[noreturn]] void fail(const std::string& what, int error) {
  throw RunError(fmt::format("{}: {}", what, std::strerror(error)));
}

/// Behind the memory stands a number that nobody else can know: whoever reads it back has the same file.
using Nonce = std::array<std::uint64_t, 2>;

Nonce make_nonce() {
  std::random_device random;
  Nonce nonce{};
  for (std::uint64_t& part : nonce) part = (std::uint64_t{random()} << 32) | random();
  return nonce;
}

/// A file without a name, `nonce` at its end. The pages are there at once: a host that lacks them says so here and not
/// by a signal later.
File make_memory_file(std::int64_t bytes, const Nonce& nonce) {
  File file(memfd_create("lshdp", MFD_CLOEXEC));
  if (file.get() < 0) fail("memory for the ranks of a node cannot be had", errno);
  if (const int error = posix_fallocate(file.get(), 0, bytes + static_cast<std::int64_t>(sizeof nonce)); error != 0) {
    fail(fmt::format("this host has no {} of memory for its ranks to share", format_size(bytes)), error);
  }
  if (pwrite(file.get(), &nonce, sizeof nonce, bytes) != static_cast<ssize_t>(sizeof nonce))
    fail("memory for the ranks of a node cannot be written", errno);
  return file;
}

/// Where a leader's memory file is, and how to know it.
struct Offer {
  std::string process_namespace, path;
  Nonce nonce{};
};

std::string to_text(const Offer& offer) {
  return fmt::format("{}\n{}\n{} {}", offer.process_namespace, offer.path, offer.nonce[0], offer.nonce[1]);
}

Offer parse_offer(const std::string& text) {
  std::istringstream lines(text);
  Offer offer;
  std::getline(lines, offer.process_namespace);
  std::getline(lines, offer.path);
  lines >> offer.nonce[0] >> offer.nonce[1];
  return offer;
}

/// By the number under which the mounted /proc shows this process, which need not be getpid().
Offer offer_of(const File& file, const Nonce& nonce) {
  std::error_code none;
  return {place_of_this_process().process_namespace,
          fmt::format("/proc/{}/fd/{}", std::filesystem::read_symlink("/proc/self", none).string(), file.get()), nonce};
}

File reopen(const File& file, int flags) {
  return File(open(fmt::format("/proc/self/fd/{}", file.get()).c_str(), flags | O_CLOEXEC));
}

/// True if the open file `found` is the offered one: looked at before it is opened for writing, which could do harm to
/// a stranger's file.
bool is_offered(const File& found, std::int64_t bytes, const Nonce& nonce) {
  struct stat status = {};
  if (fstat(found.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
      status.st_size != bytes + static_cast<std::int64_t>(sizeof nonce))
    return false;
  const File readable = reopen(found, O_RDONLY);
  Nonce read{};
  return readable.get() >= 0 && pread(readable.get(), &read, sizeof read, bytes) == static_cast<ssize_t>(sizeof read) &&
         read == nonce;
}

/// The file that the leader of this node offers. `leader`: its rank.
File open_memory_file(const Offer& offer, std::int64_t bytes, int leader) {
  const auto refuse = [&](const std::string& why) {
    throw RunError(fmt::format(
        "cannot share memory with rank {} of the same host: {}; run the ranks of a host as one user, in one "
        "container, or give containers host names of their own",
        leader, why));
  };
  if (offer.process_namespace != place_of_this_process().process_namespace)
    refuse("it runs in another PID namespace (container)");
  const File found(open(offer.path.c_str(), O_PATH | O_CLOEXEC));
  if (found.get() < 0) refuse(std::strerror(errno));
  if (!is_offered(found, bytes, offer.nonce)) refuse(offer.path + " is not its memory");
  File file = reopen(found, O_RDWR);
  if (file.get() < 0) refuse(std::strerror(errno));
  return file;
}

void check(int error, const char* what) {
  if (error != 0) fail(what, error);
}

/// The element of `lists` that holds `rank`, and its place in there.
std::pair<std::size_t, std::size_t> find(const std::vector<std::vector<int>>& lists, int rank) {
  for (std::size_t list = 0; list < lists.size(); ++list) {
    const auto place = std::ranges::find(lists[list], rank);
    if (place != lists[list].end()) return {list, static_cast<std::size_t>(place - lists[list].begin())};
  }
  throw std::invalid_argument(fmt::format("rank {} is on no node", rank));
}

}  // namespace

int NodeMap::node_of(int rank) const { return static_cast<int>(find(nodes, rank).first); }

int NodeMap::local_rank(int rank) const { return static_cast<int>(find(nodes, rank).second); }

std::vector<int> NodeMap::leaders() const {
  std::vector<int> ranks;
  for (const auto& node : nodes) ranks.push_back(node.front());
  return ranks;
}

std::vector<int> NodeMap::in_node_order() const {
  std::vector<int> ranks;
  for (const auto& node : nodes) ranks.insert(ranks.end(), node.begin(), node.end());
  return ranks;
}

NodeMap map_nodes(const std::vector<std::string>& names) {
  NodeMap map;
  std::map<std::string, std::size_t> known;
  for (std::size_t rank = 0; rank < names.size(); ++rank) {
    const auto [node, fresh] = known.emplace(names[rank], map.nodes.size());
    if (fresh) map.nodes.emplace_back();
    map.nodes[node->second].push_back(static_cast<int>(rank));
  }
  return map;
}

NodeMemory::NodeMemory(Communicator& communicator, const NodeMap& nodes, std::int64_t bytes,
                       const std::function<void(std::byte*)>& first_touch)
    : bytes_(std::max<std::int64_t>(bytes, 1)) {
  const int rank = communicator.rank();
  File file;
  const Nonce nonce = make_nonce();
  try {
    agree(communicator, [&] {
      if (!nodes.leads(rank)) return;
      file = make_memory_file(bytes_, nonce);
      map(file.get());
      if (first_touch) first_touch(data_);
    });
    const auto offers = all_gather_text(communicator, to_text(offer_of(file, nonce)));
    agree(communicator, [&] {
      if (nodes.leads(rank)) return;
      const int leader = nodes.nodes[static_cast<std::size_t>(nodes.node_of(rank))].front();
      map(open_memory_file(parse_offer(offers[static_cast<std::size_t>(leader)]), bytes_, leader).get());
    });
  } catch (...) {
    if (data_ != nullptr) munmap(data_, static_cast<std::size_t>(bytes_));
    throw;
  }
}

NodeMemory::~NodeMemory() { munmap(data_, static_cast<std::size_t>(bytes_)); }

void NodeMemory::map(int file) {
  void* place = mmap(nullptr, static_cast<std::size_t>(bytes_), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (place == MAP_FAILED) fail("memory of the node cannot be mapped", errno);
  data_ = static_cast<std::byte*>(place);
}

NodeMonitor::NodeMonitor() {
  pthread_mutexattr_t mutex;
  check(pthread_mutexattr_init(&mutex), "pthread_mutexattr_init");
  check(pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED), "pthread_mutexattr_setpshared");
  check(pthread_mutex_init(&mutex_, &mutex), "pthread_mutex_init");
  pthread_mutexattr_destroy(&mutex);
  pthread_condattr_t bell;
  check(pthread_condattr_init(&bell), "pthread_condattr_init");
  check(pthread_condattr_setpshared(&bell, PTHREAD_PROCESS_SHARED), "pthread_condattr_setpshared");
  check(pthread_condattr_setclock(&bell, CLOCK_MONOTONIC), "pthread_condattr_setclock");
  check(pthread_cond_init(&rung_, &bell), "pthread_cond_init");
  pthread_condattr_destroy(&bell);
}

void NodeMonitor::lock() { check(pthread_mutex_lock(&mutex_), "pthread_mutex_lock"); }

void NodeMonitor::unlock() { pthread_mutex_unlock(&mutex_); }

void NodeMonitor::ring() { pthread_cond_broadcast(&rung_); }

bool NodeMonitor::wait(const std::function<bool()>& condition, const std::atomic<bool>& give_up) {
  while (!condition()) {
    if (give_up) return false;
    timespec until = {};
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += kPatienceNanoseconds;
    until.tv_sec += until.tv_nsec / 1'000'000'000;
    until.tv_nsec %= 1'000'000'000;
    pthread_cond_timedwait(&rung_, &mutex_, &until);
  }
  return true;
}

}  // namespace lshdp::comm
