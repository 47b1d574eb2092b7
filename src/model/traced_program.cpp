// Runs the operations of a traced graph in their order; a value is dropped after its last use, as PyTorch drops it.
#include "traced_program.h"

#include <map>
#include <mutex>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/runtime/operator.h>
#include <torch/csrc/jit/serialization/import.h>

#include "lshdp/core/error.h"

namespace lshdp::model {
namespace {

namespace jit = torch::jit;
using c10::IValue;

using Values = std::vector<IValue>;

/// A value that an operation takes: a constant, or one that was computed.
struct Use {
  bool constant = false;
  std::size_t number = 0;
  bool last = false;  // of a computed value
};

struct Step {
  enum class Kind : std::uint8_t { operation, list, tuple, parts_of_list, parts_of_tuple } kind = Kind::operation;
  jit::Operation operation = nullptr;
  c10::TypePtr element = nullptr;  // of a list
  std::vector<Use> uses = {};
  std::vector<std::size_t> results = {};  // numbers of the values that it gives
};

/// A constant of the graph. `is_type`: it names a type that something is converted to or made in.
struct Constant {
  IValue value;
  bool is_type = false;
};

struct Sequence {
  std::vector<Constant> constants;
  std::vector<Step> steps;
  std::size_t inputs = 0, values = 0;  // values: with the inputs, which come first
  Use result;
};

Step::Kind kind_of(const jit::Node& node) {
  if (node.kind() == c10::prim::ListConstruct) return Step::Kind::list;
  if (node.kind() == c10::prim::TupleConstruct) return Step::Kind::tuple;
  if (node.kind() == c10::prim::ListUnpack) return Step::Kind::parts_of_list;
  if (node.kind() == c10::prim::TupleUnpack) return Step::Kind::parts_of_tuple;
  return Step::Kind::operation;
}

/// Whether the operation takes a type there.
bool takes_type(const jit::Node& node, std::size_t input) {
  const c10::FunctionSchema* schema = node.maybeSchema();
  return schema != nullptr && input < schema->arguments().size() && schema->arguments()[input].name() == "dtype";
}

/// Whether the operation draws random numbers: attention and dropout do only with a probability above 0, in training.
bool draws_numbers(const jit::Node& node) {
  if (!node.isNondeterministic()) return false;
  const c10::FunctionSchema* schema = node.maybeSchema();
  for (std::size_t i = 0; schema != nullptr && i < node.inputs().size(); ++i) {
    const std::string& name = schema->arguments()[i].name();
    const std::optional<IValue> value = jit::toIValue(node.inputs()[i]);
    if (!value) continue;
    if ((name == "dropout_p" || name == "p") && value->isDouble() && value->toDouble() == 0) return false;
    if ((name == "train" || name == "training") && value->isBool() && !value->toBool()) return false;
  }
  return true;
}

/// In the type and on the device that a run computes in. A wider type takes the place of float32 wherever the function
/// names it; a narrower one does not, since such conversions are there to be more exact.
IValue adapted(const Constant& constant, at::ScalarType type, at::Device device) {
  const IValue& value = constant.value;
  if (value.isTensor()) {
    const at::Tensor& tensor = value.toTensor();
    return tensor.to(device, tensor.is_floating_point() ? type : tensor.scalar_type());
  }
  if (value.isDevice()) return device;
  const bool is_float = constant.is_type && value.isInt() && value.toInt() == static_cast<std::int64_t>(at::kFloat);
  return is_float && type == at::kDouble ? IValue(static_cast<std::int64_t>(at::kDouble)) : value;
}

IValue as_list(Values&& values, const c10::TypePtr& element) {
  c10::impl::GenericList list(element);
  list.reserve(values.size());
  for (IValue& value : values) list.push_back(std::move(value));
  return list;
}

/// What a step leaves, from what it takes.
Values carried_out(Step& step, Values&& taken) {
  switch (step.kind) {
    case Step::Kind::list:
      return {as_list(std::move(taken), step.element)};
    case Step::Kind::tuple:
      return {c10::ivalue::Tuple::create(std::move(taken))};
    case Step::Kind::parts_of_list:
      return taken.at(0).toListRef().vec();
    case Step::Kind::parts_of_tuple: {
      const auto& parts = taken.at(0).toTupleRef().elements();
      return Values(parts.begin(), parts.end());
    }
    case Step::Kind::operation:
      break;
  }
  step.operation(taken);
  return std::move(taken);
}

/// Makes the steps of a graph.
class Builder {
 public:
  Builder(const jit::Graph& graph, std::string source) : graph_(graph), source_(std::move(source)) {}

  void build(Sequence& sequence);

 private:
  [[noreturn]] void refuse(const std::string& problem) const {
    throw UsageError(fmt::format("{}: {}; export the model again with scripts/export_model.py", source_, problem));
  }
  void require_plain(const jit::Node& node) const;
  Use use_of(const jit::Node& node, std::size_t input, std::vector<Constant>& constants);
  Step step_of(const jit::Node& node, std::vector<Constant>& constants);
  std::size_t number_of(const jit::Value* value) { return numbers_.emplace(value, numbers_.size()).first->second; }

  const jit::Graph& graph_;
  std::string source_;
  std::map<const jit::Value*, std::size_t> numbers_;
};

void Builder::require_plain(const jit::Node& node) const {
  const std::string name = node.kind().toQualString();
  if (!node.blocks().empty()) refuse(name + " is control flow, which a traced function has not");
  if (draws_numbers(node)) refuse(name + " draws random numbers");
  const bool computes =
      node.kind().is_aten() ? name != "aten::from_file" && name != "aten::save" : node.kind().is_prim();
  if (!computes || (node.kind().is_prim() && node.hasSideEffects())) refuse(name + " does more than to compute");
  if (kind_of(node) == Step::Kind::operation && node.maybeOperator() == nullptr) refuse(name + " is not known");
}

Use Builder::use_of(const jit::Node& node, std::size_t input, std::vector<Constant>& constants) {
  const jit::Value* value = node.inputs()[input];
  if (value->node()->kind() != c10::prim::Constant) return {.constant = false, .number = number_of(value)};
  constants.push_back({jit::toIValue(value).value(), takes_type(node, input)});
  return {.constant = true, .number = constants.size() - 1};
}

Step Builder::step_of(const jit::Node& node, std::vector<Constant>& constants) {
  require_plain(node);
  Step step{.kind = kind_of(node)};
  if (step.kind == Step::Kind::operation) step.operation = node.getOperation();
  if (step.kind == Step::Kind::list) step.element = node.output()->type()->expectRef<c10::ListType>().getElementType();
  for (std::size_t i = 0; i < node.inputs().size(); ++i) step.uses.push_back(use_of(node, i, constants));
  for (const jit::Value* value : node.outputs()) step.results.push_back(number_of(value));
  return step;
}

/// The last use of each value gives it away.
void mark_last_uses(Sequence& sequence) {
  std::vector<bool> used(sequence.values);
  if (!sequence.result.constant) used[sequence.result.number] = true;
  for (auto step = sequence.steps.rbegin(); step != sequence.steps.rend(); ++step) {
    for (auto use = step->uses.rbegin(); use != step->uses.rend(); ++use) {
      if (use->constant) continue;
      use->last = !used[use->number];
      used[use->number] = true;
    }
  }
}

void Builder::build(Sequence& sequence) {
  if (graph_.inputs().size() != sequence.inputs)
    refuse(fmt::format("the function takes {} tensors, not {}", graph_.inputs().size(), sequence.inputs));
  for (const jit::Value* value : graph_.inputs()) number_of(value);
  for (const jit::Node* node : graph_.nodes())
    if (node->kind() != c10::prim::Constant) sequence.steps.push_back(step_of(*node, sequence.constants));
  if (graph_.outputs().size() != 1) refuse("the function returns more than one value");
  sequence.result = use_of(*graph_.return_node(), 0, sequence.constants);
  sequence.values = numbers_.size();
  mark_last_uses(sequence);
}

std::shared_ptr<jit::Graph> graph_of(const std::string& archive, const std::string& source) {
  try {
    std::istringstream stream(archive);
    const jit::Module module = jit::load(stream);
    std::shared_ptr<jit::Graph> graph = module.get_method("forward").graph()->copy();
    jit::Inline(*graph);
    graph->eraseInput(0);  // the module itself, which a function does not use
    jit::EliminateDeadCode(graph);
    return graph;
  } catch (const std::exception& error) {
    const std::string text = error.what();
    throw UsageError(
        fmt::format("{}: LibTorch cannot read the traced function: {}", source, text.substr(0, text.find('\n'))));
  }
}

}  // namespace

struct TracedProgram::State {
  Sequence sequence;
  std::mutex mutex;
  std::map<std::pair<at::ScalarType, std::string>, std::shared_ptr<const Values>> adapted_constants;

  std::shared_ptr<const Values> constants_for(at::ScalarType type, at::Device device) {
    const std::lock_guard lock(mutex);
    std::shared_ptr<const Values>& found = adapted_constants[{type, device.str()}];
    if (found) return found;
    auto made = std::make_shared<Values>();
    const c10::NoGradGuard no_grad;
    for (const Constant& constant : sequence.constants) made->push_back(adapted(constant, type, device));
    return found = std::move(made);
  }
};

TracedProgram::TracedProgram(const std::string& archive, std::size_t inputs, const std::string& source)
    : state_(std::make_unique<State>()) {
  state_->sequence.inputs = inputs;
  const std::shared_ptr<jit::Graph> graph = graph_of(archive, source);
  Builder(*graph, source).build(state_->sequence);
}

TracedProgram::~TracedProgram() = default;

at::Tensor TracedProgram::run(const at::Tensor& input, std::span<const at::Tensor> parameters,
                              const at::TensorOptions& like) const {
  Sequence& sequence = state_->sequence;
  if (parameters.size() + 1 != sequence.inputs) throw std::invalid_argument("a traced function of other parameters");
  const std::shared_ptr<const Values> constants =
      state_->constants_for(c10::typeMetaToScalarType(like.dtype()), like.device());
  Values values(sequence.values);
  values[0] = input;
  for (std::size_t i = 0; i < parameters.size(); ++i) values[i + 1] = parameters[i];
  const auto take = [&](const Use& use) {
    if (use.constant) return (*constants)[use.number];
    return use.last ? std::move(values[use.number]) : values[use.number];
  };
  for (Step& step : sequence.steps) {
    Values taken;
    taken.reserve(step.uses.size());
    for (const Use& use : step.uses) taken.push_back(take(use));
    Values given = carried_out(step, std::move(taken));
    if (given.size() != step.results.size()) throw std::runtime_error("a traced operation with other results");
    for (std::size_t i = 0; i < given.size(); ++i) values[step.results[i]] = std::move(given[i]);
  }
  return take(sequence.result).toTensor();
}

}  // namespace lshdp::model
