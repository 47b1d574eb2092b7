// Facts as JSON, gathered and grouped by value.
#include "lshdp/comm/same.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/comm/agree.h"
#include "lshdp/core/error.h"
#include "lshdp/core/json.h"

namespace lshdp::comm {
namespace {

constexpr std::size_t kRanksNamed = 4;

std::string value_of(const Facts& facts, const std::string& name) {
  const auto found = std::ranges::find(facts, name, &Facts::value_type::first);
  return found == facts.end() ? "absent" : found->second;
}

/// "rank 1 (node1)", "ranks 0, 2 (node0, node2)"; of many ranks the first.
std::string name_ranks(const std::vector<std::size_t>& ranks, const std::vector<std::string>& nodes) {
  const std::size_t named = std::min(ranks.size(), kRanksNamed);
  std::vector<std::string> their_nodes;
  for (std::size_t i = 0; i < named; ++i) {
    if (std::ranges::find(their_nodes, nodes[ranks[i]]) == their_nodes.end()) their_nodes.push_back(nodes[ranks[i]]);
  }
  return fmt::format("{} {}{} ({})", ranks.size() == 1 ? "rank" : "ranks",
                     fmt::join(ranks.begin(), ranks.begin() + static_cast<std::ptrdiff_t>(named), ", "),
                     named < ranks.size() ? ", .." : "", fmt::join(their_nodes, ", "));
}

/// Who has which value of `name`; empty where all have the same.
std::string difference(const std::vector<Facts>& facts, const std::vector<std::string>& nodes,
                       const std::string& name) {
  std::vector<std::pair<std::string, std::vector<std::size_t>>> groups;
  for (std::size_t rank = 0; rank < facts.size(); ++rank) {
    const std::string value = value_of(facts[rank], name);
    auto group = std::ranges::find(groups, value, [](const auto& entry) { return entry.first; });
    if (group == groups.end()) group = groups.insert(group, {value, {}});
    group->second.push_back(rank);
  }
  if (groups.size() == 1) return "";
  std::vector<std::string> texts;
  for (const auto& [value, ranks] : groups) texts.push_back(fmt::format("{} on {}", value, name_ranks(ranks, nodes)));
  return fmt::format("{} is {}", name, fmt::join(texts, ", "));
}

}  // namespace

std::vector<std::string> differences(const std::vector<Facts>& facts, const std::vector<std::string>& nodes) {
  std::vector<std::string> found;
  std::set<std::string> seen;
  for (const Facts& of_rank : facts) {
    for (const auto& [name, value] : of_rank) {
      if (!seen.insert(name).second) continue;
      std::string text = difference(facts, nodes, name);
      if (!text.empty()) found.push_back(std::move(text));
    }
  }
  return found;
}

std::vector<Facts> all_gather_facts(Communicator& communicator, const Facts& mine) {
  std::vector<Facts> facts;
  for (const std::string& text : all_gather_text(communicator, json_text(mine)))
    facts.push_back(text.empty() ? Facts{} : Json::parse(text).get<Facts>());
  return facts;
}

void require_same(Communicator& communicator, const Facts& mine, const std::string& remedy) {
  const std::vector<Facts> facts = all_gather_facts(communicator, mine);
  const std::vector<std::string> nodes = all_gather_hosts(communicator);
  const std::vector<std::string> found = differences(facts, nodes);
  if (!found.empty()) throw AgreedError(fmt::format("ranks differ: {}; {}", fmt::join(found, "; "), remedy), 2);
}

}  // namespace lshdp::comm
