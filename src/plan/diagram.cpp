// What a picture of a layout shows.
#include "lshdp/plan/diagram.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "drawing.h"
#include "lshdp/core/error.h"
#include "lshdp/core/text.h"
#include "lshdp/plan/describe.h"

namespace lshdp::plan {
namespace {

using Node = Drawing::Node;
using Edge = Drawing::Edge;

std::string id_of(std::size_t replica, std::size_t stage) { return fmt::format("r{}s{}", replica, stage); }
std::string batch_id(std::size_t replica) { return fmt::format("batch{}", replica); }

bool knows_blocks(const Profile* profile) { return profile != nullptr && !profile->blocks.empty(); }

std::string title_of(const Layout& layout) {
  std::string title = layout.model.empty() ? "" : layout.model + ", ";
  title += format_count(total_of(layout)) + " samples a step";
  if (!is_data_parallel(layout)) title += ", " + to_text(layout.schedule);
  if (layout.predicted.step_seconds > 0)
    title += fmt::format(", {} a step predicted", format_seconds(layout.predicted.step_seconds));
  return title;
}

Node batch_node(const Replica& replica, std::size_t index) {
  Node node{
      .kind = Node::Kind::batch, .id = batch_id(index), .lines = {fmt::format("replica {}", index)}, .colour = index};
  node.lines.push_back(format_count(replica.batch) + " samples a step");
  if (replica.micro_batches.size() > 1) node.lines.push_back("as " + describe_micro_batches(replica.micro_batches));
  return node;
}

std::string describe_blocks(const Stage& stage) {
  if (stage.end - stage.start == 1) return fmt::format("block {}", stage.start);
  return fmt::format("blocks {}..{}", stage.start, stage.end - 1);
}

std::string describe_names(const Stage& stage, const Profile& profile) {
  const std::string &first = profile.blocks[stage.start].name, &last = profile.blocks[stage.end - 1].name;
  return first == last ? first : first + " .. " + last;
}

Node stage_node(const Layout& layout, std::size_t replica, std::size_t index, const Profile* profile) {
  const std::vector<Stage>& stages = layout.replicas[replica].stages;
  const Stage& stage = stages[index];
  Node node{.id = id_of(replica, index), .lines = {fmt::format("rank {}", stage.rank)}, .colour = replica};
  if (stages.size() > 1) node.lines[0] += fmt::format(", stage {} of {}", index + 1, stages.size());
  node.lines.push_back(describe_blocks(stage));
  if (knows_blocks(profile)) node.lines.push_back(describe_names(stage, *profile));
  if (stages.size() > 1) node.lines.push_back(fmt::format("{} in flight", in_flight_of(layout, replica, index)));
  if (stage.predicted) {
    node.lines.push_back(fmt::format("forward {}", format_seconds(stage.predicted->forward_seconds)));
    node.lines.push_back(fmt::format("backward {}", format_seconds(stage.predicted->backward_seconds)));
  }
  if (stage.predicted_bytes > 0) node.lines.push_back(fmt::format("memory {}", format_size(stage.predicted_bytes)));
  return node;
}

/// The nodes of each rank.
std::map<std::int64_t, std::vector<Node>> nodes_by_rank(const Layout& layout, const Profile* profile) {
  std::map<std::int64_t, std::vector<Node>> nodes;
  for (std::size_t replica = 0; replica < layout.replicas.size(); ++replica) {
    const std::vector<Stage>& stages = layout.replicas[replica].stages;
    for (std::size_t stage = 0; stage < stages.size(); ++stage)
      nodes[stages[stage].rank].push_back(stage_node(layout, replica, stage, profile));
  }
  if (profile == nullptr) return nodes;
  for (const RankProfile& rank : profile->ranks) {
    std::vector<Node>& of_rank = nodes[rank.rank];
    if (!of_rank.empty()) continue;
    of_rank.push_back({.kind = Node::Kind::left_out,
                       .id = fmt::format("rank{}", rank.rank),
                       .lines = {fmt::format("rank {}", rank.rank), "left out"}});
  }
  return nodes;
}

/// A cluster for each host, in the order of ranks; without a profile one for all, which is not drawn.
std::vector<Drawing::Cluster> clusters_of(const Layout& layout, const Profile* profile) {
  std::vector<Drawing::Cluster> clusters;
  for (auto& [rank, nodes] : nodes_by_rank(layout, profile)) {
    const std::string host = profile == nullptr ? "" : profile->ranks[static_cast<std::size_t>(rank)].host;
    auto found = std::ranges::find(clusters, host, &Drawing::Cluster::label);
    if (found == clusters.end()) found = clusters.insert(clusters.end(), {.label = host, .nodes = {}});
    for (Node& node : nodes) found->nodes.push_back(std::move(node));
  }
  return clusters;
}

std::int64_t rounded(double bytes) { return std::llround(std::min(bytes, 9e18)); }

Edge activations_edge(const Replica& replica, std::size_t index, std::size_t stage, const Profile* profile) {
  Edge edge{.kind = Edge::Kind::activations, .from = id_of(index, stage), .to = id_of(index, stage + 1), .lines = {}};
  const Stage& from = replica.stages[stage];
  if (from.predicted) edge.lines.push_back(format_seconds(from.predicted->send_seconds) + " a micro-batch");
  if (!knows_blocks(profile)) return edge;
  const auto bytes = static_cast<double>(profile->blocks[from.end - 1].output_bytes);
  edge.lines.push_back(format_size(rounded(bytes * static_cast<double>(replica.batch))) + " a step each way");
  return edge;
}

/// Of the blocks that both stages have, as the profile's mode sums them.
std::vector<std::string> describe_gradients(const Stage& one, const Stage& other, const Profile* profile) {
  if (!knows_blocks(profile) || profile->parameter_count == 0) return {"gradients"};
  double parameters = 0;
  for (std::size_t block = std::max(one.start, other.start); block < std::min(one.end, other.end); ++block)
    parameters += static_cast<double>(profile->blocks[block].parameters);
  const double bytes =
      parameters / static_cast<double>(profile->parameter_count) * static_cast<double>(profile->gradient_bytes);
  return {"gradients", format_size(rounded(bytes))};
}

/// Between stages of two replicas that have blocks in common.
void add_gradient_edges(const Layout& layout, std::size_t one, std::size_t other, const Profile* profile,
                        std::vector<Edge>& edges) {
  const std::vector<Stage>&from = layout.replicas[one].stages, &to = layout.replicas[other].stages;
  for (std::size_t i = 0; i < from.size(); ++i) {
    for (std::size_t j = 0; j < to.size(); ++j) {
      if (std::max(from[i].start, to[j].start) >= std::min(from[i].end, to[j].end)) continue;
      edges.push_back({.kind = Edge::Kind::gradients,
                       .from = id_of(one, i),
                       .to = id_of(other, j),
                       .lines = describe_gradients(from[i], to[j], profile)});
    }
  }
}

std::vector<Edge> edges_of(const Layout& layout, const Profile* profile) {
  std::vector<Edge> edges;
  for (std::size_t index = 0; index < layout.replicas.size(); ++index) {
    const Replica& replica = layout.replicas[index];
    edges.push_back({.kind = Edge::Kind::samples, .from = batch_id(index), .to = id_of(index, 0), .lines = {}});
    for (std::size_t stage = 0; stage + 1 < replica.stages.size(); ++stage)
      edges.push_back(activations_edge(replica, index, stage, profile));
    // A line from each replica to the next says which ranks sum together; one of every pair would hide the picture.
    if (index > 0) add_gradient_edges(layout, index - 1, index, profile, edges);
  }
  return edges;
}

Drawing drawing_of(const Layout& layout, const Profile* profile) {
  Drawing drawing{.title = title_of(layout), .clusters = {{}}, .edges = edges_of(layout, profile)};
  for (std::size_t index = 0; index < layout.replicas.size(); ++index)
    drawing.clusters[0].nodes.push_back(batch_node(layout.replicas[index], index));
  for (Drawing::Cluster& cluster : clusters_of(layout, profile)) drawing.clusters.push_back(std::move(cluster));
  return drawing;
}

}  // namespace

std::string dot_diagram(const Layout& layout, const Profile* profile) { return to_dot(drawing_of(layout, profile)); }

std::string mermaid_diagram(const Layout& layout, const Profile* profile) {
  return to_mermaid(drawing_of(layout, profile));
}

void require_of_layout(const Profile& profile, const Layout& layout, const std::string& source) {
  const auto refuse = [&](const std::string& problem) {
    throw UsageError(fmt::format("{}: {}; give the profile that the layout was planned from", source, problem));
  };
  if (!layout.model.empty() && layout.model != profile.model)
    refuse(fmt::format("is of {}, but the layout is of {}", profile.model, layout.model));
  if (!profile.blocks.empty() && profile.blocks.size() != layout.blocks)
    refuse(fmt::format("has {} blocks, but the layout has {}", profile.blocks.size(), layout.blocks));
  for (const Replica& replica : layout.replicas) {
    for (const Stage& stage : replica.stages) {
      if (stage.rank >= static_cast<std::int64_t>(profile.ranks.size()))
        refuse(fmt::format("has no rank {}, which the layout has", stage.rank));
    }
  }
}

}  // namespace lshdp::plan
