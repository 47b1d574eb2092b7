// lshdp data: converts published formats to data sets, makes synthetic ones, and tells what is in them.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "kinds.h"
#include "lshdp/cli/command.h"
#include "lshdp/cli/options.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/output.h"
#include "lshdp/core/text.h"
#include "lshdp/data/converters.h"
#include "tokenizer_option.h"

namespace lshdp::cli {
namespace {

void add_image_output(Options& options) {
  options.required("out", "FILE", "the data set to write (HDF5)")
      .option("class-names", "A,B,..", "names of the classes, in the order of their labels")
      .option("statistics-of", "TRAIN.h5",
              "store this data set's mean and deviation: for a test set that belongs to it")
      .option("statistics", "NAME",
              "own (of these images), or imagenet: the mean and deviation of many pretrained weights", "own");
}

/// Mean and deviation of ImageNet's RGB images, as torchvision's weights expect.
data::Statistics imagenet_statistics() { return {{0.485, 0.456, 0.406}, {0.229, 0.224, 0.225}}; }

data::ImageOutput image_output(const Values& values) {
  data::ImageOutput output{values.text("out")};
  if (values.has("class-names")) output.class_names = split_list(values.text("class-names"), "--class-names");
  const bool imagenet = values.choice("statistics", {"own", "imagenet"}) == "imagenet";
  if (imagenet && values.has("statistics-of"))
    throw UsageError("--statistics imagenet and --statistics-of exclude each other");
  if (imagenet) {
    output.statistics = imagenet_statistics();
    output.statistics_source = "--statistics imagenet";
  }
  if (values.has("statistics-of")) {
    output.statistics = data::read_statistics(values.text("statistics-of"));
    output.statistics_source = "--statistics-of " + values.text("statistics-of");
    output.option_files.emplace_back(values.text("statistics-of"));
  }
  return output;
}

void add_token_output(Options& options) {
  options.required("out", "FILE", "the data set to write (HDF5)")
      .option("validation-fraction", "F", "this part of the tokens, the last ones, goes to --validation-out")
      .option("validation-out", "FILE", "the data set of the validation part");
}

/// Beside `inputs`, none of which may be replaced.
data::TokenOutput token_output(const Values& values, const std::vector<std::filesystem::path>& inputs = {}) {
  if (values.has("validation-fraction") != values.has("validation-out")) {
    throw UsageError("--validation-fraction and --validation-out belong together; give both or neither");
  }
  data::TokenOutput output{values.text("out")};
  refuse_overwriting("--out", output.path, inputs);
  if (values.has("validation-out")) {
    refuse_overwriting("--validation-out", values.text("validation-out"), inputs);
    output.validation_path = values.text("validation-out");
    output.validation_fraction = values.real("validation-fraction", 0, 1);
  }
  return output;
}

Options idx_options() {
  Options options(
      "data idx", "Converts images and labels in MNIST's IDX format, plain or gzip",
      "lshdp data idx --images train-images-idx3-ubyte.gz --labels train-labels-idx1-ubyte.gz --out train.h5");
  options.required("images", "FILE", "IDX file of unsigned bytes, N x H x W")
      .required("labels", "FILE", "IDX file of unsigned bytes, N");
  add_image_output(options);
  return options;
}

int run_idx(const Arguments& arguments) {
  const Values values = idx_options().parse(arguments);
  if (!values.help()) data::convert_idx(values.text("images"), values.text("labels"), image_output(values));
  return 0;
}

Options cifar10_options() {
  Options options("data cifar10", "Converts CIFAR-10's binary version",
                  "lshdp data cifar10 cifar-10-batches-bin --out train.h5");
  options.positional("folder", "holds data_batch_1.bin to data_batch_5.bin and test_batch.bin")
      .flag("test", "convert the test batch instead of the five training batches");
  add_image_output(options);
  return options;
}

int run_cifar10(const Arguments& arguments) {
  const Values values = cifar10_options().parse(arguments);
  if (!values.help()) data::convert_cifar10(values.text("folder"), values.flag("test"), image_output(values));
  return 0;
}

/// Adds the files of options that images alone have to those that `output` must not replace.
data::FolderOptions folder_options(const Values& values, data::ImageOutput& output) {
  data::FolderOptions options;
  if (values.has("size")) options.size = values.integer("size", 1, 16384);
  if (values.has("shorter")) options.shorter = values.integer("shorter", 1, 16384);
  options.channels = values.integer("channels", 1, 3);
  options.show_progress = values.text("log") != "off" && values.text("log") != "warn";
  if (values.has("skip-damaged")) options.damaged_list = values.text("skip-damaged");
  if (!values.has("classes-of")) return options;
  if (values.has("class-names")) throw UsageError("--classes-of and --class-names exclude each other");
  options.classes = data::read_class_names(values.text("classes-of"));
  options.classes_source = values.text("classes-of");
  output.option_files.emplace_back(options.classes_source);
  return options;
}

Options images_options() {
  Options options("data images", "Converts a folder that holds one folder of JPEG, PNG and WebP files per class",
                  "lshdp data images photos --size 224 --shorter 256 --out photos.h5");
  options.positional("folder", "holds one folder per class; its name is the class's")
      .option("size", "S", "make every image S x S, squeezed if it is not square; without it, all must have one size")
      .option("shorter", "R", "with --size, keep shapes: make the shorter side R long and cut S x S out of the middle")
      .option("channels", "C", "RGB (3) or grey (1)", "3")
      .option("classes-of", "TRAIN.h5", "number the classes as this data set does: for a test set that belongs to it")
      .option("skip-damaged", "LIST", "leave files out that cannot be decoded, and write their names and causes here");
  add_image_output(options);
  return options;
}

int run_images(const Arguments& arguments) {
  const Values values = images_options().parse(arguments);
  if (values.help()) return 0;
  data::ImageOutput output = image_output(values);
  data::convert_image_folder(values.text("folder"), folder_options(values, output), output);
  return 0;
}

data::TextOptions text_options(const Values& values) {
  using Documents = data::TextOptions::Documents;
  data::TextOptions options;
  if (values.has("encoding")) options.encoding = values.text("encoding");
  if (values.has("jsonl")) options.fields = split_list(values.text("jsonl"), "--jsonl");
  if (options.fields.size() > 2)
    throw UsageError(fmt::format("--jsonl: {} keys; take one of a text, or two of a prompt and its completion",
                                 options.fields.size()));
  if (values.has("chat-template")) {
    const std::string& style = values.choice("chat-template", {"chatml", "qwen2.5", "llama3", "llama3.1"});
    options.chat_template = style == "chatml"    ? data::ChatTemplate::chatml
                            : style == "qwen2.5" ? data::ChatTemplate::qwen
                            : style == "llama3"  ? data::ChatTemplate::llama3
                                                 : data::ChatTemplate::llama3_1;
    if (options.fields.size() != 1)
      throw UsageError("--chat-template needs --jsonl KEY, the one key of the messages (often: messages)");
  }
  options.special = values.flag("special");
  const std::string separator = values.has("separator")
                                    ? values.choice("separator", {"none", "file", "blank-line", "record"})
                                : values.has("jsonl") ? "record"
                                                      : "none";
  const bool by_record = separator == "record";
  if (by_record && !values.has("jsonl")) throw UsageError("--separator record needs --jsonl");
  if (values.has("jsonl") && !by_record && separator != "none")
    throw UsageError(fmt::format("--separator {} is for plain text; with --jsonl take record or none", separator));
  options.packs_documents = values.choice("packing", {"none", "documents"}) == "documents";
  if (values.has("pad-to")) {
    options.pad_to = values.integer("pad-to", 1, 1 << 22);
    if (values.has("validation-fraction"))
      throw UsageError(
          "--pad-to and --validation-fraction exclude each other: a cut anywhere would move the samples; "
          "convert two files");
  }
  options.documents = by_record                   ? Documents::records
                      : separator == "file"       ? Documents::files
                      : separator == "blank-line" ? Documents::blank_lines
                                                  : Documents::none;
  return options;
}

Options text_options() {
  Options options("data text", "Converts text to tokens: its bytes, or the byte-pair tokens of GPT-2 and other models",
                  "lshdp data text book.txt --out train.h5 --validation-fraction 0.1 --validation-out validation.h5");
  options
      .positionals("files", "text files, plain or gzip, taken in this order as one text: words may join over borders")
      .option("encoding", "NAME", "the files' encoding, which is converted to UTF-8 (default: bytes as they are)")
      .option("jsonl", "KEY",
              "each line of the files is a JSON object, whose KEY (often: text) holds a document; or two keys, such as "
              "prompt,completion: only the second one's text is trained")
      .option(
          "chat-template", "NAME",
          "KEY of --jsonl holds a chat's messages, which become tokens as the model's template says: chatml, qwen2.5, "
          "llama3 or llama3.1; only what the assistant says is trained")
      .option("pad-to", "T",
              "each document fills whole samples of T tokens, the rest is not trained (train with --context T)")
      .option("packing", "WHAT",
              "documents: they share samples, and each attends to itself alone, with positions from 0 (with --pad-to: "
              "whole where they fit); none: what --separator makes of them is one text, or --pad-to keeps them apart",
              "none")
      .option("separator", "WHERE",
              "put the tokenizer's end token, such as <|endoftext|>, after each document (and before it its begin "
              "token, if it has one): file (each is one), blank-line (each part of a file between empty lines is one), "
              "record (of --jsonl) or none (default: none; with --jsonl: record)")
      .flag("special", "special tokens in the text, such as <|endoftext|>, are tokens (default: ordinary text)");
  add_tokenizer_options(options, /*by_weights=*/false);
  add_token_output(options);
  return options;
}

int run_text(const Arguments& arguments) {
  const Values values = text_options().parse(arguments);
  if (values.help()) return 0;
  const std::vector<std::string>& names = values.texts("files");
  const std::vector<std::filesystem::path> files(names.begin(), names.end());
  std::vector<std::filesystem::path> inputs = tokenizer_files(values);
  inputs.insert(inputs.end(), files.begin(), files.end());
  const data::TokenOutput output = token_output(values, inputs);
  data::convert_text(files, *tokenizer_by_options(values), text_options(values), output);
  return 0;
}

data::TokenFormat token_format(const Values& values) {
  if (!values.has("dtype")) {
    for (const char* name : {"byte-order", "raw"}) {
      if (values.has(name)) throw UsageError(fmt::format("--{} needs --dtype, the type of raw tokens", name));
    }
    return {};
  }
  const std::string& type = values.choice("dtype", {"u8", "u16", "u32", "u64", "i16", "i32", "i64"});
  const bool big = values.has("byte-order") && values.choice("byte-order", {"little", "big"}) == "big" && type != "u8";
  const auto bits = static_cast<int>(parse_int(std::string_view(type).substr(1), "--dtype"));
  return {data::IntegerType{bits / 8, type.front() == 'i', big}, values.flag("raw")};
}

Options tokens_options() {
  Options options("data tokens", "Converts tokens that other programs made: raw integers, NumPy's .npy, llm.c's shards",
                  "lshdp data tokens train.bin --dtype u16 --out train.h5");
  options.positionals("files", "tokens, taken in this order")
      .option("dtype", "TYPE", "of raw tokens: u8, u16, u32, u64, i16, i32 or i64; other files say it themselves")
      .option("byte-order", "ORDER", "of raw tokens: little or big (default: little)")
      .flag("raw", "the files are raw tokens, whatever they begin with")
      .option("vocabulary", "V", "how many different tokens there can be (default: the largest token plus 1)");
  add_token_output(options);
  return options;
}

int run_tokens(const Arguments& arguments) {
  const Values values = tokens_options().parse(arguments);
  if (values.help()) return 0;
  const std::vector<std::string>& names = values.texts("files");
  const std::vector<std::filesystem::path> files(names.begin(), names.end());
  const std::int64_t vocabulary = values.has("vocabulary") ? values.integer("vocabulary", 1) : 0;
  data::convert_tokens(files, token_format(values), vocabulary, token_output(values, files));
  return 0;
}

Options synthetic_images_options() {
  Options options(
      "data synthetic-images", "Makes images that a model can learn to tell apart",
      "lshdp data synthetic-images --count 1000 --channels 3 --size 32 --classes 10 --seed 1 --out images.h5");
  options.required("count", "N", "images")
      .option("channels", "C", "channels", "3")
      .option("size", "S", "height and width", "32")
      .option("classes", "K", "classes", "10")
      .option("seed", "S", "labels and noise depend on it, the patterns of classes do not", "0");
  add_image_output(options);
  return options;
}

int run_synthetic_images(const Arguments& arguments) {
  const Values values = synthetic_images_options().parse(arguments);
  if (values.help()) return 0;
  data::make_synthetic_images({values.integer("count", 1), values.integer("channels", 1), values.integer("size", 1),
                               values.integer("classes", 1), static_cast<std::uint64_t>(values.integer("seed", 0))},
                              image_output(values));
  return 0;
}

Options synthetic_tokens_options() {
  Options options("data synthetic-tokens", "Makes tokens of which three in four follow from the one before",
                  "lshdp data synthetic-tokens --count 100000 --vocab 256 --seed 1 --out tokens.h5");
  options.required("count", "N", "tokens")
      .option("vocab", "V", "different tokens", "256")
      .option("seed", "S", "which tokens are drawn; what follows from what does not depend on it", "0");
  add_token_output(options);
  return options;
}

int run_synthetic_tokens(const Arguments& arguments) {
  const Values values = synthetic_tokens_options().parse(arguments);
  if (values.help()) return 0;
  data::make_synthetic_tokens(values.integer("count", 1), values.integer("vocab", 1),
                              static_cast<std::uint64_t>(values.integer("seed", 0)), token_output(values));
  return 0;
}

Options info_options() {
  Options options("data info", "Tells what is in a data set", "lshdp data info train.h5");
  options.positional("file", "a data set that lshdp data wrote, or one of the same layout");
  return options;
}

int run_info(const Arguments& arguments) {
  const Values values = info_options().parse(arguments);
  if (!values.help()) print_output(data::describe_dataset(values.text("file")));
  return 0;
}

}  // namespace

const std::vector<Command>& data_kinds() {
  static const std::vector<Command> table{
      {"idx", "images and labels in MNIST's format", false, run_idx, idx_options},
      {"cifar10", "CIFAR-10's binary version", false, run_cifar10, cifar10_options},
      {"images", "a folder of image files per class", false, run_images, images_options},
      {"text", "text files, as bytes or as a model's tokens", false, run_text, text_options},
      {"tokens", "tokens that other programs made", false, run_tokens, tokens_options},
      {"synthetic-images", "images from a seed", false, run_synthetic_images, synthetic_images_options},
      {"synthetic-tokens", "tokens from a seed", false, run_synthetic_tokens, synthetic_tokens_options},
      {"info", "tells what is in a data set", false, run_info, info_options},
  };
  return table;
}

int run_data(const Arguments& arguments) {
  return run_kind({.command = "data",
                   .summary = "Converts data sets and tells what is in them",
                   .example = "lshdp data synthetic-images --count 1000 --out images.h5",
                   .kinds = data_kinds()},
                  arguments);
}

}  // namespace lshdp::cli
