// Drawings in the languages of Graphviz (dot) and Mermaid (flowchart).
#include "drawing.h"

#include <array>
#include <string_view>

#include <fmt/format.h>

#include "lshdp/core/text.h"

namespace lshdp::plan {
namespace {

using Node = Drawing::Node;
using Edge = Drawing::Edge;

constexpr std::array kFills{"#cfe2f3", "#fce5cd", "#d9ead3", "#ead1dc", "#fff2cc", "#d9d2e9", "#d0e0e3", "#f4cccc"};
constexpr const char* kFont = "Helvetica,Arial,sans-serif";

const char* fill_of(const Node& node) { return kFills.at(node.colour % kFills.size()); }

/// `text` with `escape` of each character that has one: a language's quoted text.
template <class Escape>
std::string escaped(std::string_view text, Escape escape) {
  std::string result;
  for (const char character : valid_utf8(text)) {
    const std::string_view other = escape(character);
    if (other.empty()) {
      result += character;
    } else {
      result += other;
    }
  }
  return result;
}

template <class Quote>
std::string joined(const std::vector<std::string>& lines, std::string_view separator, Quote quote) {
  std::string text;
  for (const std::string& line : lines) {
    if (!text.empty()) text += separator;
    text += quote(line);
  }
  return text;
}

std::string dot_text(const std::string& text) {
  return escaped(text, [](char character) -> std::string_view {
    if (character == '"') return "\\\"";
    if (character == '\\') return "\\\\";
    return character == '\n' ? " " : "";
  });
}

std::string html_text(const std::string& text) {
  return escaped(text, [](char character) -> std::string_view {
    if (character == '&') return "&amp;";
    if (character == '<') return "&lt;";
    return character == '>' ? "&gt;" : "";
  });
}

std::string dot_lines(const std::vector<std::string>& lines) { return joined(lines, "\\n", dot_text); }

/// On a white ground, since Graphviz lets lines run through their labels.
std::string dot_label(const std::vector<std::string>& lines) {
  if (lines.empty()) return R"("")";
  return fmt::format(
      R"(<<table border="0" cellborder="0" cellpadding="1" bgcolor="white"><tr><td>{}</td></tr></table>>)",
      joined(lines, "<br/>", html_text));
}

std::string dot_style(const Node& node) {
  if (node.kind == Node::Kind::batch) return fmt::format(R"(shape=ellipse, fillcolor="{}")", fill_of(node));
  if (node.kind == Node::Kind::left_out) return R"(style="rounded,dashed", color="#888888", fontcolor="#888888")";
  return fmt::format(R"(fillcolor="{}")", fill_of(node));
}

std::string dot_style(const Edge& edge) {
  if (edge.kind == Edge::Kind::samples) return R"(color="#888888")";
  // Not bent by sums of gradients, the stages of a replica stand in a row.
  if (edge.kind == Edge::Kind::gradients)
    return R"(dir=none, style=dashed, constraint=false, color="#990000", fontcolor="#990000")";
  return "dir=both";
}

std::string dot_cluster(const Drawing::Cluster& cluster, std::size_t index) {
  std::string nodes;
  for (const Node& node : cluster.nodes)
    nodes += fmt::format("    {} [label=\"{}\", {}];\n", node.id, dot_lines(node.lines), dot_style(node));
  if (cluster.label.empty()) return nodes;
  return fmt::format(
      "  subgraph cluster_{} {{\n    graph [label=\"{}\", labeljust=l, style=rounded, "
      "color=\"#999999\"];\n{}  }}\n",
      index, dot_text(cluster.label), nodes);
}

/// Numbers for what Mermaid takes as its own, or as HTML.
std::string mermaid_text(const std::string& text) {
  return escaped(text, [](char character) -> std::string_view {
    switch (character) {
      case '"':
        return "#quot;";
      case '#':
        return "#35;";
      case '<':
        return "#lt;";
      case '>':
        return "#gt;";
      case '&':
        return "#amp;";
      case '`':
        return "#96;";
      case '\\':
        return "#92;";
      case '\n':
        return " ";
      default:
        return "";
    }
  });
}

std::string mermaid_lines(const std::vector<std::string>& lines) { return joined(lines, "<br/>", mermaid_text); }

std::string mermaid_class(const Node& node) {
  if (node.kind == Node::Kind::left_out) return "leftout";
  return fmt::format("colour{}", node.colour % kFills.size());
}

std::string mermaid_node(const Node& node) {
  const bool round = node.kind == Node::Kind::batch;
  return fmt::format("    {}{}\"{}\"{}:::{}\n", node.id, round ? "([" : "[", mermaid_lines(node.lines),
                     round ? "])" : "]", mermaid_class(node));
}

std::string mermaid_cluster(const Drawing::Cluster& cluster, std::size_t index) {
  std::string nodes;
  for (const Node& node : cluster.nodes) nodes += mermaid_node(node);
  if (cluster.label.empty()) return nodes;
  return fmt::format("  subgraph host{}[\"{}\"]\n{}  end\n", index, mermaid_text(cluster.label), nodes);
}

std::string mermaid_edge(const Edge& edge) {
  const char* line = edge.kind == Edge::Kind::samples ? "-->" : edge.kind == Edge::Kind::activations ? "<-->" : "-.-";
  const std::string label = edge.lines.empty() ? "" : fmt::format("|\"{}\"|", mermaid_lines(edge.lines));
  return fmt::format("  {} {}{} {}\n", edge.from, line, label, edge.to);
}

}  // namespace

std::string to_dot(const Drawing& drawing) {
  std::string text = fmt::format(
      "digraph layout {{\n"
      "  graph [rankdir=LR, label=\"{0}\", labelloc=t, fontname=\"{1}\", nodesep=0.7, ranksep=0.9];\n"
      "  node [shape=box, style=\"rounded,filled\", fillcolor=white, fontname=\"{1}\", fontsize=11];\n"
      "  edge [fontname=\"{1}\", fontsize=10];\n",
      dot_text(drawing.title), kFont);
  for (std::size_t index = 0; index < drawing.clusters.size(); ++index)
    text += dot_cluster(drawing.clusters[index], index);
  for (const Edge& edge : drawing.edges)
    text += fmt::format("  {} -> {} [label={}, {}];\n", edge.from, edge.to, dot_label(edge.lines), dot_style(edge));
  return text + "}\n";
}

std::string to_mermaid(const Drawing& drawing) {
  std::string text = fmt::format("---\ntitle: \"{}\"\n---\nflowchart LR\n", dot_text(drawing.title));
  for (std::size_t index = 0; index < drawing.clusters.size(); ++index)
    text += mermaid_cluster(drawing.clusters[index], index);
  for (const Edge& edge : drawing.edges) text += mermaid_edge(edge);
  for (std::size_t index = 0; index < kFills.size(); ++index)
    text += fmt::format("  classDef colour{} fill:{},stroke:#333,color:#000\n", index, kFills[index]);
  return text + "  classDef leftout fill:#fff,stroke:#888,stroke-dasharray:4,color:#888\n";
}

}  // namespace lshdp::plan
