// A store is taken apart by blocks, and the next one is filled from the parts as its memory is made.
#include "lshdp/parallel/move_blocks.h"

#include <array>
#include <cstddef>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "lshdp/comm/agree.h"
#include "lshdp/core/json.h"
#include "lshdp/model/trained_part.h"
#include "lshdp/parallel/make_store.h"
#include "lshdp/parallel/precision.h"

namespace lshdp::parallel {
namespace {

constexpr int kFirstTag = 400'000;  // those of stores and of the norm are below, those of stages above
constexpr int kTags = 100'000;
constexpr std::int64_t kOwnTensor = 64;  // elements; what is smaller may be no tensor where it lies
constexpr std::int64_t kStates = 3;      // of a parameter that is trained: its value and two moments

int holder_of(const plan::Layout& layout, std::size_t block) { return plan::holders_of(layout, block).front(); }

/// A block that goes from one rank to another.
struct Move {
  std::size_t block = 0;
  int from = 0, to = 0;
};

std::vector<Move> moves_of(const plan::Layout& from, const plan::Layout& to) {
  std::vector<Move> moves;
  for (std::size_t block = 0; block < from.blocks; ++block) {
    const Move move{block, holder_of(from, block), holder_of(to, block)};
    if (move.from != move.to) moves.push_back(move);
  }
  return moves;
}

/// A block's state in the order in which it travels: of each parameter that is trained, in the model's order, the value
/// and both moments; then what is not trained.
using BlockState = std::vector<at::Tensor>;

/// What a store had, by blocks. It lies where the store had it, or in bytes where it came from another rank.
class Parts {
 public:
  Parts(ParameterStore& store, const model::Model& model) : model_(model) {
    std::map<std::string, StatePiece> pieces;
    for (StatePiece& piece : store.owned_state()) pieces.emplace(piece.name, std::move(piece));
    for (std::size_t block = 0; block < model.blocks.size(); ++block) add(block, store, pieces);
  }

  BlockState& of(std::size_t block) { return blocks_[block]; }
  void drop(std::size_t block) { blocks_.erase(block); }

  /// Each part goes as soon as it is taken.
  void fill_trained(std::span<const StatePiece> pieces) {
    for (const StatePiece& piece : pieces) {
      const auto [block, first] = place_of(piece.name);
      const std::array<at::Tensor, kStates> to{piece.value, piece.first_moment, piece.second_moment};
      for (std::size_t i = 0; i < to.size(); ++i) take(block, first + i, to[i]);
    }
  }
  void fill_frozen(std::size_t block, std::span<const at::Tensor> state) {
    const std::size_t first = kStates * trained_count(block);
    for (std::size_t i = 0; i < state.size(); ++i) take(block, first + i, state[i]);
  }

 private:
  void add(std::size_t block, ParameterStore& store, const std::map<std::string, StatePiece>& pieces) {
    BlockState state;
    for (const model::Parameter& parameter : model_.blocks[block]->parameters()) {
      const auto piece = pieces.find(parameter.name);
      if (!parameter.trainable || piece == pieces.end()) continue;
      if (piece->second.value.numel() != parameter.count())
        throw std::logic_error("blocks move between stores that hold them whole");
      state.insert(state.end(), {piece->second.value, piece->second.first_moment, piece->second.second_moment});
    }
    for (const at::Tensor& tensor : store.frozen_state(block))
      state.push_back(tensor.numel() < kOwnTensor ? tensor.clone() : tensor);
    if (!state.empty()) blocks_.emplace(block, std::move(state));
  }

  std::size_t trained_count(std::size_t block) const {
    std::size_t count = 0;
    for (const model::Parameter& parameter : model_.blocks[block]->parameters()) count += parameter.trainable ? 1 : 0;
    return count;
  }

  /// The parameter's block, and the first of its tensors there.
  std::pair<std::size_t, std::size_t> place_of(const std::string& name) const {
    const model::ParameterPlace place = model_.owner_of(name);
    std::size_t first = 0;
    for (std::size_t i = 0; i < place.parameter; ++i)
      first += model_.blocks[place.block]->parameters()[i].trainable ? kStates : 0;
    return {place.block, first};
  }

  void take(std::size_t block, std::size_t number, const at::Tensor& to) {
    at::Tensor& from = blocks_.at(block).at(number);
    const at::Tensor typed = from.scalar_type() == to.scalar_type() ? from : from.view(to.scalar_type());
    to.copy_(typed.view(to.sizes()));
    from.reset();
  }

  const model::Model& model_;
  std::map<std::size_t, BlockState> blocks_;
};

/// Bytes of each tensor of the blocks that move, by block; the same on all ranks.
std::map<std::size_t, std::vector<std::int64_t>> sizes_of(comm::Communicator& communicator,
                                                          const std::vector<Move>& moves, Parts& parts) {
  Json mine = Json::array();
  for (const Move& move : moves) {
    if (move.from != communicator.rank()) continue;
    Json sizes = Json::array();
    for (const at::Tensor& tensor : parts.of(move.block)) sizes.push_back(tensor.nbytes());
    mine.push_back({move.block, sizes});
  }
  std::map<std::size_t, std::vector<std::int64_t>> all;
  for (const std::string& text : comm::all_gather_text(communicator, json_text(mine))) {
    for (const Json& block : Json::parse(text)) all[block[0]] = block[1].get<std::vector<std::int64_t>>();
  }
  return all;
}

comm::Buffer memory_of(const at::Tensor& bytes) { return {bytes.data_ptr(), bytes.numel(), comm::DataType::byte}; }

/// What is under way keeps its memory.
class Transfers {
 public:
  explicit Transfers(comm::Communicator& communicator) : communicator_(communicator) {}
  /// An abandoned communicator ends what is under way.
  ~Transfers() {
    for (auto& [work, tensor] : under_way_) {
      try {
        work.wait();
      } catch (const std::exception&) {
        // Whoever noticed first has said so.
      }
    }
  }
  Transfers(const Transfers&) = delete;
  Transfers& operator=(const Transfers&) = delete;

  void send(const at::Tensor& tensor, int to, int number) {
    const at::Tensor bytes = tensor.cpu().contiguous().view({-1}).view(at::kByte);
    under_way_.emplace_back(communicator_.send(memory_of(bytes), to, {.tag = kFirstTag + number % kTags}), bytes);
  }
  at::Tensor receive(std::int64_t bytes, int from, int number) {
    const at::Tensor tensor = at::empty({bytes}, at::kByte);
    under_way_.emplace_back(communicator_.receive(memory_of(tensor), from, {.tag = kFirstTag + number % kTags}),
                            tensor);
    return tensor;
  }
  void wait() {
    for (auto& [work, tensor] : under_way_) work.wait();
    under_way_.clear();
  }

 private:
  comm::Communicator& communicator_;
  std::vector<std::pair<comm::Work, at::Tensor>> under_way_;
};

void exchange(comm::Communicator& communicator, const std::vector<Move>& moves,
              const std::map<std::size_t, std::vector<std::int64_t>>& sizes, Parts& parts) {
  Transfers transfers(communicator);
  int number = 0;
  for (const Move& move : moves) {
    const auto found = sizes.find(move.block);
    if (found == sizes.end()) continue;  // a block without parameters
    for (std::size_t i = 0; i < found->second.size(); ++i, ++number) {
      if (move.to == communicator.rank())
        parts.of(move.block).push_back(transfers.receive(found->second[i], move.from, number));
      if (move.from == communicator.rank()) transfers.send(parts.of(move.block)[i], move.to, number);
    }
    if (move.from == communicator.rank()) parts.drop(move.block);
  }
  transfers.wait();
}

}  // namespace

std::int64_t moved_bytes(const model::Model& model, const StoreOptions& options, const plan::Layout& from,
                         const plan::Layout& to) {
  const auto master = static_cast<std::int64_t>(at::elementSize(master_type(options.strategy.precision)));
  const auto compute = static_cast<std::int64_t>(at::elementSize(compute_type(options.strategy.precision)));
  std::int64_t bytes = 0;
  for (const Move& move : moves_of(from, to)) {
    const model::Block& block = *model.blocks[move.block];
    for (const model::Parameter& parameter : block.parameters())
      bytes += parameter.trainable ? kStates * master * parameter.count() : 0;
    bytes += model::frozen_bytes(block, compute);
  }
  return bytes;
}

std::unique_ptr<ParameterStore> move_blocks(std::unique_ptr<ParameterStore> store, const model::Model& model,
                                            comm::Communicator& communicator, const plan::Layout& from,
                                            const plan::Layout& to, const StoreOptions& options, Trace* trace) {
  const c10::NoGradGuard no_grad;
  if (from.replicas.size() != 1 || to.replicas.size() != 1)
    throw std::invalid_argument("blocks move within one replica only");
  const std::vector<Move> moves = moves_of(from, to);
  const auto parts = std::make_shared<Parts>(*store, model);
  const auto sizes = sizes_of(communicator, moves, *parts);
  const LossScale scale = store->loss_scale();
  store.reset();  // its gradients go, and what is in no part
  exchange(communicator, moves, sizes, *parts);
  StoreOptions filled = options;
  filled.fill_trained = [parts](std::span<const StatePiece> pieces) { parts->fill_trained(pieces); };
  filled.fill_frozen = [parts](std::size_t block, std::span<const at::Tensor> state) {
    parts->fill_frozen(block, state);
  };
  std::unique_ptr<ParameterStore> next = make_store(model, communicator, filled, trace);
  next->publish();
  if (options.strategy.precision == Precision::fp16) next->set_loss_scale(scale);
  return next;
}

}  // namespace lshdp::parallel
