// Axes, lines and rectangles in SVG.
#include "chart.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "lshdp/core/text.h"

namespace lshdp::cli {
namespace {

constexpr double kWidth = 720, kHeight = 240;
constexpr double kLeft = 64, kRight = 24, kTop = 8, kBottom = 28;
constexpr std::size_t kMostPoints = 600;
constexpr double kLaneHeight = 18;

struct Box {
  double left = kLeft, top = kTop, width = kWidth - kLeft - kRight, height = kHeight - kTop - kBottom;
};

/// Numbers onto a box: x from low_x to high_x, y upwards.
struct Scale {
  Box box;
  double low_x = 0, high_x = 1, low_y = 0, high_y = 1;
  double x(double value) const { return box.left + box.width * (value - low_x) / (high_x - low_x); }
  double y(double value) const { return box.top + box.height * (1 - (value - low_y) / (high_y - low_y)); }
};

std::string tick_text(double value) {
  if (value != 0 && (std::abs(value) < 1e-3 || std::abs(value) >= 1e6)) return fmt::format("{:.3g}", value);
  return fmt::format("{:.6g}", value);
}

std::string text_at(double x, double y, std::string_view anchor, std::string_view text) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>", x, y, anchor, html_text(text));
}

std::string line(double x1, double y1, double x2, double y2) {
  return fmt::format("<path class=\"grid\" d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}\"/>", x1, y1, x2, y2);
}

std::string rectangle(double x, double y, double width, double height) {
  return fmt::format("M{:.2f} {:.2f}h{:.2f}v{:.2f}h{:.2f}z", x, y, width, height, -width);
}

std::string legend_text(const std::vector<LegendEntry>& legend) {
  std::string text;
  for (const LegendEntry& entry : legend)
    text += fmt::format(" <span class=\"key\"><i class=\"{}\"></i>{}</span>", entry.colour, html_text(entry.name));
  return text;
}

std::string figure(std::string_view title, const std::vector<LegendEntry>& legend, double height,
                   const std::string& body) {
  return fmt::format(
      "<figure><figcaption><b>{0}</b>{1}</figcaption>"
      "<svg viewBox=\"0 0 {2} {3}\" role=\"img\" aria-label=\"{0}\">{4}</svg></figure>\n",
      html_text(title), legend_text(legend), kWidth, height, body);
}

std::string y_axis(const Scale& scale, int count) {
  std::string text;
  for (const double tick : round_ticks(scale.low_y, scale.high_y, count)) {
    const double y = scale.y(tick);
    text += line(scale.box.left, y, scale.box.left + scale.box.width, y) +
            text_at(scale.box.left - 6, y + 4, "end", tick_text(tick));
  }
  return text;
}

std::string x_axis(const Scale& scale, std::string_view unit, bool lines) {
  const double bottom = scale.box.top + scale.box.height;
  std::string text;
  for (const double tick : round_ticks(scale.low_x, scale.high_x, 8)) {
    if (lines) text += line(scale.x(tick), scale.box.top, scale.x(tick), bottom);
    text += text_at(scale.x(tick), bottom + 18, "middle", tick_text(tick) + std::string(unit));
  }
  return text;
}

bool is_finite(const Point& point) { return std::isfinite(point.x) && std::isfinite(point.y); }

/// The least and the largest of each of `parts` parts, in their order.
std::vector<Point> thinned(const std::vector<Point>& points) {
  if (points.size() <= kMostPoints) return points;
  std::vector<Point> kept;
  const std::size_t parts = kMostPoints / 2;
  for (std::size_t part = 0; part < parts; ++part) {
    const auto begin = points.begin() + static_cast<std::ptrdiff_t>(part * points.size() / parts);
    const auto end = points.begin() + static_cast<std::ptrdiff_t>((part + 1) * points.size() / parts);
    auto [least, largest] = std::minmax_element(begin, end, [](const Point& a, const Point& b) { return a.y < b.y; });
    if (largest < least) std::swap(least, largest);
    kept.push_back(*least);
    if (largest != least) kept.push_back(*largest);
  }
  return kept;
}

Scale scale_of(const std::vector<Series>& series) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  Scale scale{.box = {}, .low_x = infinity, .high_x = -infinity, .low_y = infinity, .high_y = -infinity};
  for (const Series& one : series) {
    for (const Point& point : one.points) {
      if (!is_finite(point)) continue;
      scale.low_x = std::min(scale.low_x, point.x);
      scale.high_x = std::max(scale.high_x, point.x);
      scale.low_y = std::min(scale.low_y, point.y);
      scale.high_y = std::max(scale.high_y, point.y);
    }
  }
  if (scale.low_x > scale.high_x) scale = {};
  if (scale.low_x == scale.high_x) scale.high_x += 1;
  const double margin =
      scale.low_y == scale.high_y ? std::max(1e-9, std::abs(scale.high_y)) / 10 : (scale.high_y - scale.low_y) / 20;
  if (scale.low_y > margin || scale.low_y < 0) scale.low_y -= margin;
  scale.high_y += margin;
  return scale;
}

std::string curve(const Scale& scale, const Series& series) {
  std::string path, marks;
  bool broken = true;
  for (const Point& point : thinned(series.points)) {
    if (!is_finite(point)) {
      broken = true;
      continue;
    }
    path += fmt::format("{}{:.1f} {:.1f}", broken ? 'M' : 'L', scale.x(point.x), scale.y(point.y));
    broken = false;
    if (series.marks)
      marks += fmt::format(
          "<circle class=\"{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\"><title>{}: {:.5g} at {:.6g}</title></circle>",
          series.colour, scale.x(point.x), scale.y(point.y), html_text(series.name), point.y, point.x);
  }
  return fmt::format("<path class=\"line {}\" d=\"{}\"/>{}", series.colour, path, marks);
}

}  // namespace

std::string html_text(std::string_view text) {
  std::string escaped;
  for (const char c : valid_utf8(text)) {
    if (c == '&')
      escaped += "&amp;";
    else if (c == '<')
      escaped += "&lt;";
    else if (c == '>')
      escaped += "&gt;";
    else if (c == '"')
      escaped += "&quot;";
    else
      escaped += c;
  }
  return escaped;
}

std::vector<double> round_ticks(double low, double high, int count) {
  if (!(high > low)) return {low};
  const double rough = (high - low) / count, power = std::pow(10, std::floor(std::log10(rough)));
  const double step = power * (rough > 5 * power ? 10 : rough > 2 * power ? 5 : rough > power ? 2 : 1);
  std::vector<double> ticks;
  const double first = std::ceil(low / step), last = std::floor(high / step);
  // Counted apart: of numbers that differ in their last digits alone, adding 1 to the first makes no other.
  for (int i = 0; i <= 2 * count && first + i <= last; ++i) ticks.push_back(first + i == 0 ? 0 : (first + i) * step);
  return ticks;
}

std::string line_chart(std::string_view title, std::string_view x_name, const std::vector<Series>& series) {
  const Scale scale = scale_of(series);
  std::vector<LegendEntry> legend;
  std::string body = y_axis(scale, 6) + x_axis(scale, "", /*lines=*/false);
  for (const Series& one : series) {
    body += curve(scale, one);
    if (!one.name.empty()) legend.push_back({one.name, one.colour});
  }
  body += text_at(kLeft - 6, kHeight - kBottom + 18, "end", x_name);
  return figure(title, legend, kHeight, body);
}

std::string column_chart(std::string_view title, const std::vector<LegendEntry>& legend,
                         const std::vector<Column>& columns, double top, std::string_view first,
                         std::string_view last) {
  constexpr double height = 110;
  const Scale scale{.box = {.height = height - kTop - kBottom},
                    .low_x = 0,
                    .high_x = std::max(1.0, static_cast<double>(columns.size())),
                    .low_y = 0,
                    .high_y = top > 0 ? top : 1};
  std::vector<std::string> paths(legend.size());
  std::string titles;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const double x = scale.x(static_cast<double>(i)), width = scale.x(static_cast<double>(i) + 1) - x;
    double sum = 0;
    for (std::size_t part = 0; part < columns[i].values.size() && part < paths.size(); ++part) {
      const double from = std::min(sum, scale.high_y);
      sum += std::max(0.0, columns[i].values[part]);
      const double to = std::min(sum, scale.high_y);
      if (to > from) paths[part] += rectangle(x, scale.y(to), std::max(0.3, width - 0.4), scale.y(from) - scale.y(to));
    }
    titles += fmt::format("<path class=\"hover\" d=\"{}\"><title>{}</title></path>",
                          rectangle(x, scale.box.top, width, scale.box.height), html_text(columns[i].name));
  }
  std::string body = y_axis(scale, 3);
  for (std::size_t part = 0; part < legend.size(); ++part)
    body += fmt::format("<path class=\"{}\" d=\"{}\"/>", legend[part].colour, paths[part]);
  const double bottom = scale.box.top + scale.box.height + 18;
  body += text_at(scale.box.left, bottom, "start", first) + text_at(kWidth - kRight, bottom, "end", last);
  return figure(title, legend, height, body + titles);
}

std::string lane_chart(std::string_view title, const std::vector<LegendEntry>& legend, const std::vector<Lane>& lanes,
                       double begin, double end, std::string_view unit) {
  constexpr double names = 170;
  const Scale scale{.box = {.left = names,
                            .width = kWidth - names - kRight,
                            .height = kLaneHeight * static_cast<double>(lanes.size())},
                    .low_x = begin,
                    .high_x = end > begin ? end : begin + 1};
  std::string body = x_axis(scale, unit, /*lines=*/true);
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    const double y = scale.box.top + kLaneHeight * static_cast<double>(i);
    body += text_at(names - 6, y + kLaneHeight - 5, "end", lanes[i].name);
    for (const LaneSpan& span : lanes[i].spans) {
      const double from = scale.x(std::max(begin, span.begin)), to = scale.x(std::min(end, span.end));
      body += fmt::format("<path class=\"{}\" d=\"{}\"><title>{}</title></path>", span.colour,
                          rectangle(from, y + 2, std::max(0.3, to - from), kLaneHeight - 4), html_text(span.name));
    }
  }
  return figure(title, legend, scale.box.top + scale.box.height + kBottom, body);
}

}  // namespace lshdp::cli
