// Multi-layer perceptron: linear layers with ReLU between them, named and drawn as a torch.nn.ModuleList of Linear.
#include "architectures.h"
#include "layers.h"

namespace lshdp::model {
namespace {

/// [B, in] -> [B, out]; the first one flattens whatever follows the batch.
class Layer final : public ListedBlock {
 public:
  Layer(std::size_t index, std::int64_t in, std::int64_t out, bool last)
      : ListedBlock("layer " + std::to_string(index), make_parameters(index, in, out)),
        flatten_(index == 0),
        last_(last) {}

 private:
  static std::vector<Parameter> make_parameters(std::size_t index, std::int64_t in, std::int64_t out) {
    const std::string name = "layers." + std::to_string(index);
    return {linear_weight(name + ".weight", {out, in}, linear_default(in)),
            parameter(name + ".bias", {out}, linear_default(in))};
  }

  at::Tensor run(const at::Tensor& input, const Tensors& p) const override {
    const at::Tensor output = p.linear(0, flatten_ ? input.flatten(1) : input, p[1]);
    return last_ ? output : at::relu(output);
  }

  bool flatten_, last_;
};

}  // namespace

Model make_mlp(Description& description, const std::string& name) {
  std::vector<std::int64_t> widths = description.sizes("hidden_sizes");
  const std::vector<std::int64_t> hidden = widths;
  widths.insert(widths.begin(), description.size("input_size"));
  widths.push_back(description.size("output_size"));
  description.refuse_unknown_keys();
  Model model;
  model.name = name;
  model.description = {
      {"type", "mlp"}, {"input_size", widths.front()}, {"hidden_sizes", hidden}, {"output_size", widths.back()}};
  model.input.kind = InputSpec::Kind::flat;
  model.input.input_size = widths.front();
  model.input.classes = widths.back();
  for (std::size_t i = 0; i + 1 < widths.size(); ++i) {
    model.blocks.push_back(std::make_unique<Layer>(i, widths[i], widths[i + 1], i + 2 == widths.size()));
  }
  return model;
}

}  // namespace lshdp::model
