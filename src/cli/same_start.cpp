// Facts about program, options and files, compared over ranks.
#include "same_start.h"

#include <algorithm>
#include <functional>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "host_report.h"
#include "lshdp/comm/agree.h"
#include "lshdp/comm/hosts.h"
#include "lshdp/core/checksum.h"
#include "lshdp/core/error.h"
#include "lshdp/core/input_file.h"
#include "lshdp/core/json.h"
#include "lshdp/core/log.h"
#include "lshdp/core/text.h"
#include "lshdp/data/identity.h"
#include "lshdp/train/auto_resume.h"

namespace lshdp::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kSample = 1 << 20;

bool is_file(const fs::path& path) {
  std::error_code none;
  return fs::is_regular_file(path, none);
}

void add_bytes(Checksum& checksum, const InputFile& file, std::uint64_t begin, std::uint64_t end) {
  std::vector<std::byte> bytes(end - begin);
  file.read_at(begin, bytes);
  checksum.add(bytes);
}

std::string sample_of_file(const fs::path& path) {
  const InputFile file(path);
  const std::uint64_t size = file.size();
  Checksum checksum;
  add_bytes(checksum, file, 0, std::min(size, kSample));
  if (size > kSample) add_bytes(checksum, file, size - kSample, size);
  return fmt::format("{} bytes, {}", format_count(static_cast<std::int64_t>(size)), checksum.text());
}

/// What a run or a checkpoint is told by.
std::string run_fact(const fs::path& folder) {
  for (const char* name : {"manifest.json", "run.json"})
    if (is_file(folder / name)) return checksum_of_file(folder / name);
  std::error_code none;
  return fs::exists(folder, none) ? "without run.json" : "absent";
}

std::string checksum_of_any_file(const fs::path& path) { return is_file(path) ? checksum_of_file(path) : ""; }

/// What differs in the file of an option, where the command has it. `needed`: a rank without one is a difference.
std::vector<std::string> differences_of_file(const FileViews& views, const Values& values, const char* name,
                                             const FileFact& fact, bool needed) {
  if (!values.has(name)) return {};
  const std::vector<std::string> found = views.facts_of(values.text(name), fact);
  std::vector<comm::Facts> facts;
  for (const std::string& of_rank : found) {
    const bool absent = of_rank.empty() && !needed;
    facts.push_back({{fmt::format("--{} {}", name, values.text(name)), absent ? found.front() : of_rank}});
  }
  return comm::differences(facts, views.nodes());
}

/// All ranks come here with the same `differences`.
void refuse(const std::vector<std::string>& differences, const char* remedy) {
  if (!differences.empty())
    throw AgreedError(fmt::format("ranks differ: {}; {}", fmt::join(differences, "; "), remedy), 2);
}

void warn_of_hosts(comm::Communicator& communicator) {
  const std::vector<HostReport> reports = gather_reports(communicator);
  if (communicator.rank() != 0) return;
  for (const std::string& problem : problems_of(reports, network_is_chosen())) spdlog::warn("{}", problem);
}

}  // namespace

FileViews::FileViews(comm::Communicator& communicator) : communicator_(communicator) {
  const comm::Hosts hosts = comm::gather_hosts(communicator);
  nodes_ = hosts.nodes;
  std::error_code none;
  const std::string mounts = fs::read_symlink("/proc/self/ns/mnt", none).string();
  const std::vector<std::string> views =
      comm::all_gather_text(communicator, mounts + '\n' + fs::current_path(none).string());
  for (std::size_t rank = 0; rank < views.size(); ++rank) {
    const std::size_t line = views[rank].find('\n');
    mounts_.push_back(hosts.places[rank].boot + views[rank].substr(0, line));
    folders_.push_back(views[rank].substr(line));
  }
}

std::vector<std::string> FileViews::facts_of(const fs::path& path, const FileFact& fact) const {
  std::vector<std::string> keys;
  for (std::size_t rank = 0; rank < nodes_.size(); ++rank)
    keys.push_back(mounts_[rank] + (path.is_absolute() ? "" : folders_[rank]));
  const auto first_like = [&](std::size_t rank) {
    return static_cast<std::size_t>(std::ranges::find(keys, keys[rank]) - keys.begin());
  };
  const auto mine = static_cast<std::size_t>(communicator_.rank());
  std::string text;
  comm::agree(communicator_, [&] {
    if (first_like(mine) == mine) text = fact(path);
  });
  const std::vector<std::string> texts = comm::all_gather_text(communicator_, text);
  std::vector<std::string> facts;
  for (std::size_t rank = 0; rank < texts.size(); ++rank) facts.push_back(texts[first_like(rank)]);
  return facts;
}

comm::Facts option_facts(const Values& values) {
  comm::Facts facts;
  const Json options = values.as_read();
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

void require_same_start(comm::Communicator& communicator, const Values& values) {
  if (communicator.size() == 1) return;
  const FileViews views(communicator);
  refuse(comm::differences(comm::all_gather_facts(communicator, option_facts(values)), views.nodes()),
         "start the same command line on all nodes");
  for (const char* name : {"model", "batches", "profile"}) {
    refuse(differences_of_file(views, values, name, checksum_of_any_file, false),
           "copy one file to all nodes, or keep it on rank 0's only");
  }
  for (const char* name : {"data", "eval-data", "trained-on"})
    refuse(differences_of_file(views, values, name, data_fact, true), "copy one data set to all nodes");
  if (!values.has("resume") || values.text("resume") != train::kResumeAuto)
    refuse(differences_of_file(views, values, "resume", run_fact, true), "give a folder that all nodes share");
  for (const std::string& difference : differences_of_file(views, values, "init", sample_of_files, false))
    if (communicator.rank() == 0) spdlog::warn("{}; all ranks begin with those of rank 0", difference);
  warn_of_hosts(communicator);
}

}  // namespace lshdp::cli
