// Facts about program, options and files, compared over ranks.
#include "same_start.h"

#include <algorithm>
#include <fstream>
#include <functional>
#include <span>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "host_report.h"
#include "lshdp/comm/agree.h"
#include "lshdp/comm/hosts.h"
#include "lshdp/core/checksum.h"
#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/core/log.h"
#include "lshdp/core/program.h"
#include "lshdp/core/text.h"
#include "lshdp/data/identity.h"

namespace lshdp::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::streamoff kSample = 1 << 20;

bool is_file(const fs::path& path) {
  std::error_code none;
  return fs::is_regular_file(path, none);
}

void add_bytes(Checksum& checksum, std::ifstream& file, std::streamoff begin) {
  std::vector<char> bytes(kSample);
  file.clear();
  file.seekg(begin);
  file.read(bytes.data(), kSample);
  checksum.add(std::as_bytes(std::span(bytes.data(), static_cast<std::size_t>(file.gcount()))));
}

std::string sample_of_file(const fs::path& path) {
  std::error_code none;
  const auto size = static_cast<std::streamoff>(fs::file_size(path, none));
  std::ifstream file(path, std::ios::binary);
  Checksum checksum;
  add_bytes(checksum, file, 0);
  if (size > kSample) add_bytes(checksum, file, size - kSample);
  return fmt::format("{} bytes, {}", format_count(size), checksum.text());
}

/// Files that rank 0 reads for all: a host without one is no difference.
comm::Facts facts_of_files(comm::Communicator& communicator, const Values& values,
                           const std::vector<const char*>& names, const FileFact& fact) {
  comm::Facts facts;
  for (const char* name : names) {
    if (!values.has(name)) continue;
    const std::string mine = fact_of_file(communicator, values.text(name), fact);
    const std::string of_rank_0 = comm::broadcast_text(communicator, mine);
    facts.emplace_back(fmt::format("--{} {}", name, values.text(name)), mine.empty() ? of_rank_0 : mine);
  }
  return facts;
}

std::string checksum_of_any_file(const fs::path& path) { return is_file(path) ? checksum_of_file(path) : ""; }

void require_same_data(comm::Communicator& communicator, const Values& values) {
  comm::Facts facts;
  for (const char* name : {"data", "eval-data"}) {
    if (!values.has(name)) continue;
    facts.emplace_back(fmt::format("--{} {}", name, values.text(name)),
                       fact_of_file(communicator, values.text(name), data_fact));
  }
  comm::require_same(communicator, facts, "copy one data set to all nodes");
}

void warn_of_other_weights(comm::Communicator& communicator, const Values& values) {
  const std::vector<comm::Facts> all =
      comm::all_gather_facts(communicator, facts_of_files(communicator, values, {"init"}, sample_of_files));
  const std::vector<std::string> nodes = comm::all_gather_hosts(communicator);
  for (const std::string& difference : comm::differences(all, nodes))
    if (communicator.rank() == 0) spdlog::warn("{}; all ranks begin with those of rank 0", difference);
}

void warn_of_hosts(comm::Communicator& communicator) {
  const std::vector<HostReport> reports = gather_reports(communicator);
  if (communicator.rank() != 0) return;
  for (const std::string& problem : problems_of(reports, network_is_chosen())) spdlog::warn("{}", problem);
}

}  // namespace

std::string fact_of_file(comm::Communicator& communicator, const fs::path& path, const FileFact& fact) {
  std::error_code none;
  const std::string view = fs::read_symlink("/proc/self/ns/mnt", none).string();
  const std::vector<std::string> keys = comm::all_gather_text(
      communicator,
      fmt::format("{}\n{}\n{}", comm::place_of_this_process().boot, view, fs::absolute(path, none).string()));
  const auto rank = static_cast<std::size_t>(communicator.rank());
  const auto first = static_cast<std::size_t>(std::ranges::find(keys, keys[rank]) - keys.begin());
  std::string mine;
  comm::agree(communicator, [&] {
    if (first == rank) mine = fact(path);
  });
  return comm::all_gather_text(communicator, mine)[first];
}

comm::Facts option_facts(const std::string& command, const Values& values) {
  comm::Facts facts{{"the command", command}};
  const Json options = values.to_json();
  for (const auto& [name, value] : options.items())
    facts.emplace_back("--" + name, value.is_string() ? value.get<std::string>() : json_text(value));
  return facts;
}

std::string sample_of_files(const fs::path& path) {
  if (is_file(path)) return sample_of_file(path);
  std::vector<fs::path> files;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(path, none))
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  std::ranges::sort(files);
  std::vector<std::string> samples;
  for (const fs::path& file : files) samples.push_back(sample_of_file(file));
  return fmt::format("{}", fmt::join(samples, ", "));
}

std::string data_fact(const fs::path& path) {
  const data::DatasetIdentity identity = data::identity_of(path);
  return fmt::format("{} ({})", data::describe_size(identity.info), identity.checksum);
}

void require_same_start(comm::Communicator& communicator, const std::string& command, const Values& values) {
  if (communicator.size() == 1) return;
  const Program program = this_program();
  comm::require_same(communicator, {{"the program", fmt::format("{} (sources {})", program.version, program.sources)}},
                     "build one version on all nodes");
  comm::require_same(communicator, option_facts(command, values), "start it with the same command line on all nodes");
  comm::require_same(communicator,
                     facts_of_files(communicator, values, {"model", "batches", "profile"}, checksum_of_any_file),
                     "copy one file to all nodes, or keep it on rank 0's only");
  require_same_data(communicator, values);
  warn_of_other_weights(communicator, values);
  warn_of_hosts(communicator);
}

}  // namespace lshdp::cli
