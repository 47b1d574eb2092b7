// Invariant 1: training on several ranks is the training of one process with the whole batch.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lshdp/comm/mpi_communicator.h"
#include "lshdp/comm/null_communicator.h"
#include "lshdp/parallel/replicated_store.h"
#include "lshdp/parallel/walker.h"
#include "models.h"

namespace lshdp::parallel {
namespace {

constexpr int kSteps = 20;
constexpr std::int64_t kBatch = 12;

struct Split {
  const char* name;
  bool uneven;
  std::int64_t micro_batch;  // largest; 0: no accumulation
  double clip;
  bool partial;  // every fifth step has fewer samples, as the last of an epoch
};

void PrintTo(const Split& split, std::ostream* out) { *out << split.name; }

/// Samples of `rank` in a step of `count`: all equal, or growing with the rank, the first rank getting none.
std::pair<std::int64_t, std::int64_t> slice(std::int64_t count, int rank, int ranks, bool uneven) {
  const auto border = [&](int r) {
    return uneven && ranks > 1 ? count * r * (r - 1) / (ranks * (ranks - 1)) : count * r / ranks;
  };
  return {border(rank), border(rank + 1)};
}

model::Values train(const model::Model& model, comm::Communicator& communicator, Precision precision,
                    const Split& split) {
  const auto store = make_replicated_store(model, communicator, {.precision = precision, .bucket_bytes = 4096});
  store->set_values(model::initial_values(model, 5));
  BlockWalker walker(model, *store, {.precision = precision});
  for (int step = 1; step <= kSteps; ++step) {
    const std::int64_t count = split.partial && step % 5 == 0 ? kBatch / 2 + 1 : kBatch;
    const model::SyntheticBatch batch =
        model::synthetic_batch(model.input, count, 100 + static_cast<std::uint64_t>(step));
    store->begin_step({.step = step,
                       .learning_rate = 1e-3,
                       .global_terms = count * model.terms_per_sample(),
                       .clip_norm = split.clip});
    const auto [begin, end] = slice(count, communicator.rank(), communicator.size(), split.uneven);
    const std::int64_t micro = split.micro_batch > 0 ? split.micro_batch : kBatch;
    if (begin == end) walker.train_nothing();
    for (std::int64_t at = begin; at < end; at += micro) {
      const std::int64_t samples = std::min(micro, end - at);
      walker.train_micro_batch(batch.input.narrow(0, at, samples), batch.target.narrow(0, at, samples),
                               at + samples == end);
    }
  }
  store->synchronize();
  return store->gather_values();
}

/// Norm of the difference over the norm: of the worst tensor, and of all parameters together.
std::pair<double, double> difference(const model::Values& a, const model::Values& b) {
  double worst = 0, difference = 0, size = 0;
  for (std::size_t block = 0; block < a.size(); ++block) {
    for (std::size_t i = 0; i < a[block].size(); ++i) {
      const double d = (a[block][i] - b[block][i]).to(at::kDouble).norm().item<double>();
      const double s = b[block][i].to(at::kDouble).norm().item<double>();
      worst = std::max(worst, d / s);
      difference += d * d;
      size += s * s;
    }
  }
  return {worst, std::sqrt(difference / size)};
}

class SameMathematics : public testing::TestWithParam<std::tuple<model::Model (*)(), Split>> {
 protected:
  static void SetUpTestSuite() {
    at::set_num_threads(1);
    communicator_ = comm::make_mpi_communicator(comm::MpiSession(nullptr, nullptr));
  }
  static void TearDownTestSuite() {
    communicator_->barrier();
    communicator_.reset();
  }
  static inline std::unique_ptr<comm::Communicator> communicator_;
};

TEST_P(SameMathematics, InDoublePrecisionToOnePartInABillionPerTensor) {
  const auto& [make, split] = GetParam();
  const model::Model model = make();
  const model::Values together = train(model, *communicator_, Precision::fp64, split);
  const model::Values alone =
      train(model, *comm::make_null_communicator(0, 1), Precision::fp64, {"", false, 0, split.clip, split.partial});
  EXPECT_LT(difference(together, alone).first, 1e-9);
}

TEST_P(SameMathematics, InSinglePrecisionToRoundingOverAllParameters) {
  const auto& [make, split] = GetParam();
  const model::Model model = make();
  const model::Values together = train(model, *communicator_, Precision::fp32, split);
  const model::Values alone =
      train(model, *comm::make_null_communicator(0, 1), Precision::fp32, {"", false, 0, split.clip, split.partial});
  EXPECT_LT(difference(together, alone).second, 1e-5);
}

constexpr Split kSplits[] = {{"Equal", false, 0, 0, false},
                             {"Uneven", true, 0, 0, false},
                             {"Accumulation", true, 2, 0, false},
                             {"Clip", true, 3, 0.05, false},
                             {"PartialLastBatch", true, 0, 0, true}};

INSTANTIATE_TEST_SUITE_P(Models, SameMathematics,
                         testing::Combine(testing::Values(&test::small_vit, &test::small_gpt, &test::small_mlp),
                                          testing::ValuesIn(kSplits)));

}  // namespace
}  // namespace lshdp::parallel
