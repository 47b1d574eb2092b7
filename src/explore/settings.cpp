// Reads the settings of a search.
#include "lshdp/explore/settings.h"

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include "lshdp/core/error.h"
#include "lshdp/explore/parameters.h"
#include "read_model.h"
#include "section.h"

namespace lshdp::explore {
namespace {

constexpr std::array kDataTypes{std::pair{"float16", DataType::float16}, std::pair{"bfloat16", DataType::float16},
                                std::pair{"float32", DataType::float32}};

const std::vector<std::string> kRootKeys{
    "model",          "trainer",           "framework",          "device",          "cluster",
    "efficiency",     "ngpus_range",       "tp_range",           "pp_range",        "ep_range",
    "cp_range",       "mbs_range",         "interleaving_range", "recompute_range", "sequence_parallel_range",
    "sharding_range", "layer_split_range", "offload_range"};
const std::vector<std::string> kTrainerKeys{"data_parallel_sharding_strategy",
                                            "param_dtype",
                                            "grad_dtype",
                                            "separate_accumulators",
                                            "flash_attention",
                                            "loss_in_float32",
                                            "offload"};
const std::vector<std::string> kFrameworkKeys{"name",
                                              "context_gib",
                                              "communicator_gib",
                                              "fragmentation",
                                              "reduce_bucket_elements",
                                              "gather_bucket_elements",
                                              "flat_gradients",
                                              "overlap_comm"};

const std::vector<std::string> kDeviceKeys{
    "name",         "memory",          "float16_tflops", "float32_tflops",           "memory_bandwidth_gb_s",
    "matmul_share", "attention_share", "price_per_hour", "host_link_bandwidth_gb_s", "profiled_layers"};
const std::vector<std::string> kClusterKeys{"name",
                                            "devices_per_node",
                                            "bandwidth_within_node_gb_s",
                                            "latency_within_node_us",
                                            "bandwidth_between_nodes_gb_s",
                                            "latency_between_nodes_us",
                                            "types",
                                            "host_memory",
                                            "host_memory_bandwidth_gb_s",
                                            "devices_per_host_link"};
const std::vector<std::string> kEfficiencyKeys{"half_size", "memory", "link", "launch_us", "host_link", "host_memory"};

/// Pairs of each value's name and the value.
template <typename Value, std::size_t count>
auto named(const std::array<Value, count>& values) {
  std::vector<std::pair<std::string_view, Value>> pairs;
  for (const Value value : values) pairs.emplace_back(name_of(value), value);
  return pairs;
}

template <typename Value, std::size_t count>
std::vector<Value> read_choices(const Section& section, const std::string& key,
                                const std::array<Value, count>& values) {
  std::vector<Value> chosen;
  for (const Json& value : section.list(key)) chosen.push_back(section.choice(key, value, named(values)));
  std::ranges::sort(chosen);
  chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
  return chosen;
}

std::vector<bool> read_booleans(const Section& section, const std::string& key) {
  bool has[2] = {false, false};
  for (const Json& value : section.list(key)) {
    if (!value.is_boolean()) section.refuse(key, "must be true, false or a list of them");
    has[value.get<bool>() ? 1 : 0] = true;
  }
  std::vector<bool> values;
  if (has[0]) values.push_back(false);
  if (has[1]) values.push_back(true);
  return values;
}

Trainer read_trainer(const Section& section) {
  Trainer trainer;
  const auto type = [&](const std::string& key, const char* otherwise) {
    return section.choice(key, section.has(key) ? section.value(key) : Json(otherwise), kDataTypes);
  };
  trainer.param_dtype = type("param_dtype", "float16");
  trainer.grad_dtype = type("grad_dtype", "float32");
  if (trainer.param_dtype == DataType::float32 && trainer.grad_dtype == DataType::float16)
    section.refuse("grad_dtype", "must be float32 where param_dtype is");
  trainer.separate_accumulators = section.boolean_or("separate_accumulators", false);
  trainer.flash_attention = section.boolean_or("flash_attention", true);
  trainer.loss_in_float32 = section.boolean_or("loss_in_float32", true);
  return trainer;
}

Framework read_framework(const Section& section) {
  Framework framework;
  framework.name = section.text("name");
  framework.context_gib = section.real_or("context_gib", framework.context_gib, 0, 1e6);
  framework.communicator_gib = section.real_or("communicator_gib", framework.communicator_gib, 0, 1e6);
  framework.fragmentation = section.real_or("fragmentation", framework.fragmentation, 0, 1);
  framework.reduce_bucket_elements = section.integer_or("reduce_bucket_elements", 0, 0);
  framework.gather_bucket_elements = section.integer_or("gather_bucket_elements", 0, 0);
  framework.flat_gradients = section.boolean_or("flat_gradients", false);
  framework.overlap_comm = section.boolean_or("overlap_comm", true);
  return framework;
}

/// EP may take each power of two that divides the experts.
std::vector<std::int64_t> expert_range(const Model& model) {
  std::vector<std::int64_t> range{1};
  while (model.has_experts() && model.moe.num_experts % (2 * range.back()) == 0) range.push_back(2 * range.back());
  return range;
}

/// A range that is not given is the value that model or trainer fix, or else the default.
SearchSpace read_space(const Section& root, const Section& model_section, const Section& trainer_section,
                       const Model& model) {
  SearchSpace space;
  space.expert = expert_range(model);
  const std::pair<const char*, std::vector<std::int64_t>*> ranges[] = {{"ngpus_range", &space.devices},
                                                                       {"tp_range", &space.tensor},
                                                                       {"pp_range", &space.pipeline},
                                                                       {"ep_range", &space.expert},
                                                                       {"cp_range", &space.context},
                                                                       {"mbs_range", &space.micro_batch},
                                                                       {"interleaving_range", &space.interleaving}};
  const bool fixed_micro_batch = model_section.has("micro_batch_size");
  if (fixed_micro_batch) space.micro_batch = {model_section.integer("micro_batch_size")};
  for (const auto& [key, range] : ranges) {
    if (root.has(key)) *range = root.integers(key);
  }
  const std::string strategy = "data_parallel_sharding_strategy";
  if (trainer_section.has(strategy)) space.sharding = read_choices(trainer_section, strategy, kShardings);
  if (root.has("sharding_range")) space.sharding = read_choices(root, "sharding_range", kShardings);
  if (root.has("recompute_range")) space.recompute = read_choices(root, "recompute_range", kRecomputes);
  if (trainer_section.has("offload")) space.offload = read_choices(trainer_section, "offload", kOffloads);
  if (root.has("offload_range")) space.offload = read_choices(root, "offload_range", kOffloads);
  if (root.has("layer_split_range")) space.layer_split = read_choices(root, "layer_split_range", kLayerSplits);
  if (root.has("sequence_parallel_range")) space.sequence_parallel = read_booleans(root, "sequence_parallel_range");
  return space;
}

/// More of any of these are typing errors, and would take the search long.
constexpr std::int64_t kMaxDevices = 100'000'000, kMaxOfASize = 100'000, kMaxChunks = 1'000;

constexpr double kTera = 1e12, kGB = 1e9, kMicro = 1e-6;

std::int64_t read_size(const Section& section, const std::string& key, const std::string& name) {
  const std::int64_t bytes = parse_size(section.text(key), section.source() + ": " + name);
  if (bytes == 0) section.refuse(key, "must be above 0");
  return bytes;
}

/// [forward, backward], seconds.
LayerTimes::Passes read_passes(const Section& section, const std::string& key) {
  const Json& pair = section.value(key);
  const auto is_time = [](const Json& value) { return value.is_number() && value.get<double>() >= 0; };
  if (!pair.is_array() || pair.size() != 2 || !is_time(pair[0]) || !is_time(pair[1]))
    section.refuse(key, "must be a list of two times, of forward and backward");
  return {pair[0].get<double>(), pair[1].get<double>()};
}

ProfiledLayers read_profiled_layers(const Section& section) {
  ProfiledLayers profiled{section.integer("parameters"), section.integer("num_layers"), section.integer("seq_length")};
  for (const Json& entry : section.list("times")) {
    const Section times(entry, "device.profiled_layers.times.", section.source(),
                        {"micro_batch", "embedding", "layer", "head"});
    profiled.times.push_back({static_cast<double>(times.integer("micro_batch")), read_passes(times, "embedding"),
                              read_passes(times, "layer"), read_passes(times, "head")});
    const auto count = profiled.times.size();
    if (count > 1 && profiled.times[count - 2].micro_batch >= profiled.times.back().micro_batch)
      section.refuse("times", "must rise in micro_batch");
  }
  return profiled;
}

/// Times of another model say nothing.
void keep_layer_times_of(const Model& model, Device& device) {
  ProfiledLayers& profiled = device.profiled_layers;
  const bool same = profiled.parameters == total_parameters(model) && profiled.num_layers == model.num_layers &&
                    profiled.seq_length == model.seq_length && !model.has_experts();
  if (!same) profiled = {};
}

Device read_device(const Section& section) {
  Device device;
  device.name = section.text("name");
  device.memory_bytes = read_size(section, "memory", "device.memory");
  device.float16_flops = kTera * section.real_or("float16_tflops", 0, 1e-9, 1e9);
  device.float32_flops = kTera * section.real_or("float32_tflops", 0, 1e-9, 1e9);
  device.memory_bandwidth = kGB * section.real_or("memory_bandwidth_gb_s", 0, 1e-3, 1e9);
  device.matmul_share = section.real_or("matmul_share", device.matmul_share, 1e-3, 1);
  device.attention_share = section.real_or("attention_share", device.attention_share, 1e-3, 1);
  device.price_per_hour = section.real_or("price_per_hour", 0, 0, 1e9);
  if (section.has("profiled_layers"))
    device.profiled_layers =
        read_profiled_layers(section.section("profiled_layers", {"parameters", "num_layers", "seq_length", "times"}));
  device.host_link = kGB * section.real_or("host_link_bandwidth_gb_s", 0, 1e-3, 1e9);
  return device;
}

double required(const Section& section, const std::string& key, double least, double most) {
  if (!section.has(key)) section.refuse(key, "is missing, and times need it");
  return section.real_or(key, 0, least, most);
}

Link read_link(const Section& section, const std::string& which) {
  return {kGB * required(section, "bandwidth_" + which + "_gb_s", 1e-6, 1e9),
          kMicro * required(section, "latency_" + which + "_us", 0, 1e9)};
}

void require_device_times(const Section& device, const Trainer& trainer) {
  required(device, trainer.param_dtype == DataType::float16 ? "float16_tflops" : "float32_tflops", 1e-9, 1e9);
  required(device, "memory_bandwidth_gb_s", 1e-3, 1e9);
}

/// The search tries every order of types along a pipeline.
constexpr std::size_t kMaxTypes = 4;

/// {NAME: {nodes: N, device: {..}}, ..}
std::vector<DeviceType> read_types(const Section& cluster, std::int64_t devices_per_node, const Trainer& trainer) {
  const Json& tree = cluster.value("types");
  if (!tree.is_object() || tree.empty() || tree.size() > kMaxTypes)
    cluster.refuse("types",
                   fmt::format("must be a dictionary of 1 to {} types: NAME: {{nodes: N, device: {{..}}}}", kMaxTypes));
  std::vector<DeviceType> types;
  for (const auto& [name, entry] : tree.items()) {
    const Section type(entry, fmt::format("cluster.types.{}.", printable(name)), cluster.source(), {"nodes", "device"});
    const std::int64_t nodes = type.integer("nodes");
    const std::int64_t most = kMaxOfASize / devices_per_node;
    if (nodes > most) type.refuse("nodes", fmt::format("must be at most {}, not {}", most, nodes));
    if (!type.has("device"))
      type.refuse("device",
                  fmt::format("is missing; choose one by +device@cluster.types.{}.device=NAME", printable(name)));
    const Section device = type.section("device", kDeviceKeys);
    require_device_times(device, trainer);
    types.push_back({name, read_device(device), nodes * devices_per_node});
  }
  return types;
}

Cluster read_cluster(const Section& section, const Trainer& trainer) {
  Cluster cluster;
  cluster.name = section.text("name");
  cluster.devices_per_node = section.integer("devices_per_node");
  cluster.within_node = read_link(section, "within_node");
  cluster.between_nodes = read_link(section, "between_nodes");
  if (cluster.devices_per_node > kMaxOfASize)
    section.refuse("devices_per_node", fmt::format("must be at most {}", kMaxOfASize));
  if (section.has("host_memory")) cluster.host_memory_bytes = read_size(section, "host_memory", "cluster.host_memory");
  cluster.host_memory_bandwidth = kGB * section.real_or("host_memory_bandwidth_gb_s", 0, 1e-3, 1e9);
  cluster.devices_per_host_link = section.integer_or("devices_per_host_link", cluster.devices_per_host_link);
  if (section.has("types")) cluster.types = read_types(section, cluster.devices_per_node, trainer);
  return cluster;
}

Efficiency read_efficiency(const Section& section) {
  Efficiency efficiency;
  efficiency.half_size = section.real_or("half_size", efficiency.half_size, 0, 1e6);
  efficiency.memory = section.real_or("memory", efficiency.memory, 1e-3, 1);
  efficiency.link = section.real_or("link", efficiency.link, 1e-3, 1);
  efficiency.host_link = section.real_or("host_link", efficiency.host_link, 1e-3, 1);
  efficiency.host_memory = section.real_or("host_memory", efficiency.host_memory, 1e-3, 1);
  efficiency.launch_seconds = kMicro * section.real_or("launch_us", efficiency.launch_seconds / kMicro, 0, 1e6);
  return efficiency;
}

/// What the devices of a cluster are is said once.
void check_devices(const Section& root, const Trainer& trainer, const Cluster& cluster) {
  if (!cluster.is_mixed()) {
    if (!root.has("device")) root.refuse("device", "is missing, and times need it; choose one by device=NAME");
    return require_device_times(root.section("device", kDeviceKeys), trainer);
  }
  if (root.has("device")) root.refuse("device", "is given beside cluster.types, which says it; leave it out");
  if (root.has("ngpus_range"))
    root.refuse("ngpus_range", "is given beside cluster.types, whose nodes are the devices; leave it out");
}

/// Times of layouts with offload need what the host's part is computed from.
void check_offload(const Section& root, const Cluster& cluster) {
  if (cluster.is_mixed())
    root.refuse(root.has("offload_range") ? "offload_range" : "trainer.offload",
                "is given beside cluster.types: offload over several types is not supported");
  const auto require_for_offload = [](const Section& section, const std::string& key) {
    if (!section.has(key)) section.refuse(key, "is missing, and times with offload need it");
  };
  require_for_offload(root.section("device", kDeviceKeys), "host_link_bandwidth_gb_s");
  require_for_offload(root.section("cluster", kClusterKeys), "host_memory_bandwidth_gb_s");
}

void check_ranges(const SearchSpace& space, const std::string& source) {
  const std::tuple<const char*, const std::vector<std::int64_t>*, std::int64_t> ranges[] = {
      {"ngpus_range", &space.devices, kMaxDevices},
      {"tp_range", &space.tensor, kMaxOfASize},
      {"pp_range", &space.pipeline, kMaxOfASize},
      {"ep_range", &space.expert, kMaxOfASize},
      {"cp_range", &space.context, kMaxOfASize},
      {"mbs_range", &space.micro_batch, kMaxDevices},
      {"interleaving_range", &space.interleaving, kMaxChunks}};
  for (const auto& [key, range, most] : ranges) {
    if (range->back() > most)
      throw UsageError(fmt::format("{}: {} must be at most {}, not {}", source, key, most, range->back()));
  }
}

}  // namespace

Settings read_settings(const Json& tree, const std::string& source) {
  const Section root(tree, "", source, kRootKeys);
  std::vector<std::string> keys = model_keys();
  keys.emplace_back("micro_batch_size");
  const Section model = root.section("model", keys);
  const Json no_trainer = Json::object();
  const Section trainer(root.has("trainer") ? root.value("trainer") : no_trainer, "trainer.", source, kTrainerKeys);
  Settings settings;
  settings.model = read_model(model);
  check(settings.model, source + ": model");
  settings.trainer = read_trainer(trainer);
  if (root.has("framework")) settings.trainer.framework = read_framework(root.section("framework", kFrameworkKeys));
  settings.space = read_space(root, model, trainer, settings.model);
  check_ranges(settings.space, source);
  if (root.has("device")) settings.device = read_device(root.section("device", kDeviceKeys));
  if (root.has("cluster")) {
    if (root.has("efficiency")) settings.efficiency = read_efficiency(root.section("efficiency", kEfficiencyKeys));
    settings.cluster = read_cluster(root.section("cluster", kClusterKeys), settings.trainer);
    check_devices(root, settings.trainer, *settings.cluster);
    if (settings.space.offloads()) check_offload(root, *settings.cluster);
  }
  if (settings.device) keep_layer_times_of(settings.model, *settings.device);
  if (settings.cluster) {
    for (DeviceType& type : settings.cluster->types) keep_layer_times_of(settings.model, type.device);
  }
  return settings;
}

bool Settings::has_layer_times() const {
  if (device) return !device->profiled_layers.times.empty();
  return cluster && std::ranges::any_of(cluster->types, [](const DeviceType& type) {
           return !type.device.profiled_layers.times.empty();
         });
}

std::optional<Hardware> Settings::hardware() const {
  if (!device || !cluster) return std::nullopt;
  return Hardware{.device = *device, .cluster = *cluster, .efficiency = efficiency};
}

}  // namespace lshdp::explore
