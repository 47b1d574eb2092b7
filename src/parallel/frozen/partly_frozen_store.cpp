// Parameters of two places as those of one store.
#include "frozen/partly_frozen_store.h"

#include <vector>

#include "frozen/frozen_values.h"
#include "lshdp/model/trained_part.h"

namespace lshdp::parallel {
namespace {

class PartlyFrozenStore final : public ParameterStore {
 public:
  PartlyFrozenStore(const model::Model& model, const StoreOptions& options, const MakeStore& make_store)
      : model_(model),
        trained_model_(model::trained_part(model)),
        frozen_(model, options),
        trained_(make_store(trained_model_)),
        parameters_(model.blocks.size()) {
    for (std::size_t block = 0; block < model.blocks.size(); ++block) {
      splits_.push_back(model::split_of(model, block));
      parameters_[block].resize(splits_.back().trained.size());
    }
  }

  void begin_step(const Update& update) override { trained_->begin_step(update); }
  bool gathers_every_pass() const override { return trained_->gathers_every_pass(); }
  bool looks_up_rows() const override { return trained_->looks_up_rows(); }
  void look_up(const at::Tensor& rows) override { trained_->look_up(rows); }

  void acquire(std::size_t block) override {
    trained_->acquire(block);
    frozen_.acquire(block);
    const model::ParameterSplit& split = splits_[block];
    const std::span<const at::Tensor> trained = trained_->parameters(block);
    for (std::size_t i = 0; i < split.trained.size(); ++i)
      parameters_[block][i] = split.trained[i] ? trained[*split.trained[i]] : frozen_value(block, i);
  }
  std::span<const at::Tensor> parameters(std::size_t block) const override { return parameters_[block]; }
  void release(std::size_t block) override {
    frozen_.release(block);
    trained_->release(block);
  }

  void add_gradient(std::size_t block, std::span<const at::Tensor> gradients, bool last) override {
    std::vector<at::Tensor> trained;
    for (const std::size_t number : splits_[block].numbers) {
      if (!gradients.empty()) trained.push_back(gradients[number]);
    }
    trained_->add_gradient(block, trained, last);
  }

  void synchronize() override { trained_->synchronize(); }
  double backward_scale() const override { return trained_->backward_scale(); }
  StepReport report_of(std::int64_t step) const override { return trained_->report_of(step); }
  StoreUsage usage() const override {
    StoreUsage usage = trained_->usage();
    usage.host_link.bytes += frozen_.copied().bytes;
    usage.host_link.seconds += frozen_.copied().seconds;
    usage.host_bytes += frozen_.host_bytes();
    return usage;
  }

  void take_values(const model::BlockValues& source) override {
    trained_->take_values([&](std::size_t block) {
      const std::vector<at::Tensor> values = source(block);
      frozen_.take(block, values);
      std::vector<at::Tensor> trained;
      for (const std::size_t number : splits_[block].numbers) {
        if (number < values.size()) trained.push_back(values[number]);
      }
      return trained;
    });
  }
  void gather_each(const TakeValue& take) override {
    trained_->gather_each([&](std::size_t block, std::size_t parameter, const at::Tensor& value) {
      take(block, splits_[block].numbers[parameter], value);
    });
  }
  std::vector<StatePiece> owned_state() override {
    std::vector<StatePiece> pieces = trained_->owned_state();
    for (StatePiece& piece : pieces) piece.parameter = splits_[piece.block].numbers[piece.parameter];
    return pieces;
  }
  void observe_state(std::shared_ptr<StateObserver> observer) override { trained_->observe_state(std::move(observer)); }
  void publish() override { trained_->publish(); }
  LossScale loss_scale() const override { return trained_->loss_scale(); }
  void set_loss_scale(const LossScale& state) override { trained_->set_loss_scale(state); }
  std::vector<at::Tensor> frozen_state(std::size_t block) override { return frozen_.state(block); }

 private:
  const at::Tensor& frozen_value(std::size_t block, std::size_t number) const {
    const std::size_t own = model_.blocks[block]->parameters().size();
    if (number < own) return frozen_.value(block, number);
    const model::ParameterPlace place = model_.owner_of(model_.blocks[block]->borrowed()[number - own]);
    return frozen_.value(place.block, place.parameter);
  }

  const model::Model& model_;
  model::Model trained_model_;
  FrozenValues frozen_;
  std::unique_ptr<ParameterStore> trained_;
  std::vector<model::ParameterSplit> splits_;        // by block
  std::vector<std::vector<at::Tensor>> parameters_;  // by block: of its last acquire
};

}  // namespace

std::unique_ptr<ParameterStore> make_partly_frozen_store(const model::Model& model, const StoreOptions& options,
                                                         const MakeStore& make_store) {
  return std::make_unique<PartlyFrozenStore>(model, options, make_store);
}

}  // namespace lshdp::parallel
