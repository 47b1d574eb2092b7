// lshdp checkpoint: what checkpoints a run has, what is in one, whether all of it is there, and its weights.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "kinds.h"
#include "lshdp/cli/options.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/core/output.h"
#include "lshdp/core/progress.h"
#include "lshdp/core/text.h"
#include "lshdp/train/checkpoint_inspection.h"

namespace lshdp::cli {
namespace {

using train::FoundCheckpoint;

void add_json_option(Options& options) { options.option("json", "FILE", "where to write the same as JSON"); }

/// The file of --json, proved to be writable.
class JsonFile {
 public:
  explicit JsonFile(const Values& values) {
    if (!values.has("json")) return;
    file_ = values.text("json");
    made_ = require_writable_file(file_, "--json");
  }
  void write(const Json& json) const {
    if (!file_.empty()) write_json(file_, json);
  }

 private:
  std::filesystem::path file_;
  NewFolders made_;
};

/// "abandoned-1/step-20".
std::string name_of(const FoundCheckpoint& checkpoint) {
  const std::string name = std::filesystem::absolute(checkpoint.folder).lexically_normal().filename().string();
  return checkpoint.abandoned.empty() ? name : checkpoint.abandoned + '/' + name;
}

Json to_json(const FoundCheckpoint& checkpoint) {
  return {{"checkpoint", checkpoint.folder.string()},
          {"step", checkpoint.step},
          {"abandoned", checkpoint.abandoned.empty() ? Json() : Json(checkpoint.abandoned)},
          {"written", checkpoint.written},
          {"bytes", checkpoint.bytes},
          {"ranks", checkpoint.ranks > 0 ? Json(checkpoint.ranks) : Json()},
          {"state", train::to_text(checkpoint.state)},
          {"problem", checkpoint.problem.empty() ? Json() : Json(checkpoint.problem)}};
}

std::string table_of(const std::vector<FoundCheckpoint>& found) {
  Table table({"step", "written", "size", "ranks", "state", ""});
  for (const FoundCheckpoint& one : found) {
    std::string note = one.problem;
    if (!one.abandoned.empty()) note = fmt::format("in {}{}{}", one.abandoned, note.empty() ? "" : ": ", note);
    table.add({std::to_string(one.step), one.written, format_size(one.bytes),
               one.ranks > 0 ? std::to_string(one.ranks) : "-", train::to_text(one.state), printable(note)});
  }
  return table.to_string();
}

Options list_options() {
  Options options("checkpoint list", "Lists the checkpoints of a run: the last line is the newest.",
                  "lshdp checkpoint list runs/first");
  options.positional("run", "a run directory");
  add_json_option(options);
  return options;
}

int run_list(const Arguments& arguments) {
  const Values values = list_options().parse(arguments);
  if (values.help()) return 0;
  const JsonFile file(values);
  const std::vector<FoundCheckpoint> found = train::list_checkpoints(values.text("run"), "run");
  Json json{{"version", 1}, {"run", values.text("run")}, {"checkpoints", Json::array()}};
  for (const FoundCheckpoint& one : found) json["checkpoints"].push_back(to_json(one));
  file.write(json);
  print_output(found.empty() ? fmt::format("{} has no checkpoint\n", values.text("run")) : table_of(found));
  return 0;
}

std::string text_of(const Json& value) { return value.is_string() ? value.get<std::string>() : json_text(value); }

std::string text_of_object(const Json& object) {
  std::vector<std::string> parts;
  for (const auto& [key, value] : object.items()) parts.push_back(fmt::format("{} {}", key, text_of(value)));
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::string describe(const Json& checkpoint) {
  Table table({"step", std::to_string(checkpoint["step"].get<std::int64_t>())});
  for (const char* key : {"checkpoint", "written", "program", "total", "seed", "mode", "precision", "wire", "offload",
                          "recompute", "loss_scale"}) {
    if (checkpoint.contains(key)) table.add({key, text_of(checkpoint[key])});
  }
  for (const char* key : {"training", "data", "model"})
    table.add({key, checkpoint[key].is_object() ? text_of_object(checkpoint[key]) : "not known"});
  Table files({"file", "bytes", "checksum"});
  for (const Json& file : checkpoint["files"])
    files.add({file["name"], format_count(file["bytes"].get<std::int64_t>()), file["checksum"]});
  return fmt::format("{}\n{}", table.to_string(), files.to_string());
}

Options info_options() {
  Options options("checkpoint info", "Tells what a checkpoint says of itself.",
                  "lshdp checkpoint info runs/first/checkpoints/step-100");
  options.positional("path", "a checkpoint, or a run directory: its newest");
  add_json_option(options);
  return options;
}

int run_info(const Arguments& arguments) {
  const Values values = info_options().parse(arguments);
  if (values.help()) return 0;
  const JsonFile file(values);
  const Json checkpoint = train::describe_checkpoint(train::newest_checkpoint_at(values.text("path"), "path"));
  file.write(checkpoint);
  print_output(describe(checkpoint));
  return 0;
}

/// Prints a line for a checkpoint that is good, and for each thing that is wrong otherwise. Returns whether it is good.
bool verify(const FoundCheckpoint& checkpoint, Progress& progress, std::int64_t before) {
  if (checkpoint.state == FoundCheckpoint::State::unfinished) {
    print_output("unfinished {}: it has no manifest, and no run goes on from it\n", name_of(checkpoint));
    return true;
  }
  const std::vector<std::string> damages = train::verify_checkpoint(
      checkpoint, [&](std::int64_t bytes) { progress.update(before + bytes, name_of(checkpoint)); });
  progress.clear();
  if (!damages.empty() && !train::is_still_there(checkpoint)) {
    print_output("removed {}: the run did it meanwhile\n", name_of(checkpoint));
    return true;
  }
  for (const std::string& damage : damages) print_output("damaged {}: {}\n", name_of(checkpoint), printable(damage));
  if (damages.empty())
    print_output("good {}: {} files, {}\n", name_of(checkpoint), checkpoint.ranks, format_size(checkpoint.bytes));
  return damages.empty();
}

Options verify_options() {
  Options options("checkpoint verify",
                  "Reads checkpoints and compares them with what was written; exit code 1 where any is damaged.",
                  "lshdp checkpoint verify runs/first");
  options.positional("path", "a checkpoint, or a run directory: all of its checkpoints");
  return options;
}

int run_verify(const Arguments& arguments) {
  const Values values = verify_options().parse(arguments);
  if (values.help()) return 0;
  const std::vector<FoundCheckpoint> found = train::checkpoints_at(values.text("path"), "path");
  std::int64_t total = 0, before = 0, damaged = 0, looked_at = 0;
  for (const FoundCheckpoint& one : found) total += one.bytes;
  Progress progress("reading checkpoints", total, true, 1 << 20, " MiB");
  for (const FoundCheckpoint& one : found) {
    if (!verify(one, progress, before)) ++damaged;
    if (one.state != FoundCheckpoint::State::unfinished) ++looked_at;
    before += one.bytes;
  }
  if (damaged == 0) return 0;
  throw RunError(
      fmt::format("{} of {} checkpoints {} damaged; see above", damaged, looked_at, damaged == 1 ? "is" : "are"));
}

}  // namespace

const std::vector<Command>& checkpoint_kinds() {
  static const std::vector<Command> table{
      {"list", "the checkpoints of a run", false, run_list, list_options},
      {"info", "what a checkpoint says of itself", false, run_info, info_options},
      {"verify", "whether all that was written is there", false, run_verify, verify_options},
      {"export", "the weights as others load them (lshdp export)", false, run_export, export_options}};
  return table;
}

int run_checkpoint(const Arguments& arguments) {
  return run_kind({.command = "checkpoint",
                   .summary = "Lists, describes, verifies and exports checkpoints of runs",
                   .example = "lshdp checkpoint list runs/first",
                   .kinds = checkpoint_kinds()},
                  arguments);
}

}  // namespace lshdp::cli
