// lshdp optimize: from profile.json to batches.json.
#include <cstdio>

#include "lshdp/cli/options.h"
#include "lshdp/core/text.h"
#include "lshdp/plan/describe.h"
#include "lshdp/plan/other_ranks.h"
#include "lshdp/plan/solver.h"

namespace lshdp::cli {

int run_optimize(const Arguments& arguments) {
  const Values values =
      Options("optimize", "Splits a step over unequal ranks so that it is as short as possible",
              "lshdp optimize profile.json --total 128 --out batches.json")
          .positional("profile", "the profile.json that `lshdp profile` wrote")
          .option("total", "B", "samples a step, exactly; without it, the total with the most samples per second")
          .option("max-accumulation", "K",
                  "micro-batches a rank may run in a step; 0 or absent: any number with --total, otherwise 1")
          .option("scale", "N,..", "also predict the step on so many ranks like those of the profile, e.g. 64,256")
          .required("out", "FILE", "where to write the plan (batches.json)")
          .parse(arguments);
  if (values.help()) return 0;
  plan::SolverOptions options;
  if (values.has("total")) options.total = values.integer("total", 1);
  if (values.has("max-accumulation")) options.max_accumulation = values.integer("max-accumulation", 0);
  const plan::Profile profile = plan::read_profile(values.text("profile"));
  const plan::Solution solution = plan::solve(profile, options);
  std::string text = plan::describe(profile, solution);
  if (values.has("scale")) {
    const auto points = plan::predict_scale(profile, solution.plan.total, options.max_accumulation,
                                            parse_int_list(values.text("scale"), "--scale"));
    text += '\n' + plan::describe_scale(solution.plan, points);
  }
  plan::write_plan(values.text("out"), solution.plan);
  std::fputs(text.c_str(), stdout);
  return 0;
}

}  // namespace lshdp::cli
