// A graph of boxes and lines, and how Graphviz and Mermaid write it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace lshdp::plan {

struct Drawing {
  struct Node {
    enum class Kind : std::uint8_t { stage, batch, left_out } kind = Kind::stage;
    std::string id;                  // a word of letters and digits
    std::vector<std::string> lines;  // of its text
    std::size_t colour = 0;          // nodes of equal numbers have equal colours
  };
  struct Cluster {
    std::string label;  // empty: no box around its nodes
    std::vector<Node> nodes;
  };
  struct Edge {
    enum class Kind : std::uint8_t { samples, activations, gradients } kind = Kind::samples;
    std::string from, to;            // ids
    std::vector<std::string> lines;  // of its label
  };

  std::string title;
  std::vector<Cluster> clusters;
  std::vector<Edge> edges;
};

std::string to_dot(const Drawing& drawing);
std::string to_mermaid(const Drawing& drawing);

}  // namespace lshdp::plan
