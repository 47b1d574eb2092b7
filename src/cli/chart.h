// Charts as inline SVG: text that a browser shows without anything else.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace lshdp::cli {

struct Point {
  double x = 0, y = 0;
};

/// Colours are classes of the page's style: "c0", "c1", ...
struct Series {
  std::string name;
  std::string colour;
  std::vector<Point> points;  // by rising x; what is no finite number breaks the line
  bool marks = false;         // a circle at each point as well
};

/// A value for the legend of a chart.
struct LegendEntry {
  std::string name, colour;
};

/// Parts of a column, one on the other: `values[i]` has the colour of the legend's entry i.
struct Column {
  std::string name;  // shown where the mouse is
  std::vector<double> values;
};

/// Text within HTML, of any bytes.
std::string html_text(std::string_view text);

/// Round numbers, about `count` of them, from the first at or above `low` to the last at or below `high`.
std::vector<double> round_ticks(double low, double high, int count);

/// <figure> with the curves over x. Thousands of points become hundreds: of each part of the axis the least and the
/// largest stay.
std::string line_chart(std::string_view title, std::string_view x_name, const std::vector<Series>& series);

/// <figure> with columns side by side, as high as their parts together; `first` and `last` stand at the ends of the
/// axis. `top`: of the axis.
std::string column_chart(std::string_view title, const std::vector<LegendEntry>& legend,
                         const std::vector<Column>& columns, double top, std::string_view first, std::string_view last);

/// Spans in lanes over time.
struct LaneSpan {
  double begin = 0, end = 0;
  std::string name, colour;
};
struct Lane {
  std::string name;
  std::vector<LaneSpan> spans;
};
/// <figure> with a row for each lane; `unit` stands at the ticks.
std::string lane_chart(std::string_view title, const std::vector<LegendEntry>& legend, const std::vector<Lane>& lanes,
                       double begin, double end, std::string_view unit);

}  // namespace lshdp::cli
