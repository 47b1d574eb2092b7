// Converters: published formats and synthetic data written as data sets. What `lshdp data` runs.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lshdp/data/formats.h"
#include "lshdp/data/tokenizer.h"
#include "lshdp/data/writer.h"

namespace lshdp::data {

// Every function throws UsageError where the input is missing, malformed, empty or out of range, naming the file and
// the cause, WriteError where the output cannot be written; then it leaves no output.

/// Where images go. Without `class_names`, the format's own are stored; without `statistics`, the data set's own.
struct ImageOutput {
  std::filesystem::path path;
  std::vector<std::string> class_names = {};
  std::optional<Statistics> statistics = {};
  std::string statistics_source = "statistics";          // where they come from, for messages
  std::vector<std::filesystem::path> option_files = {};  // read for options; the output must be none of them
};

/// Mean and deviation that an image data set stores, for a test set that is to be normalised as its training set.
Statistics read_statistics(const std::filesystem::path& path);

/// The class names of an image data set, by label. Throws UsageError if it has none.
std::vector<std::string> read_class_names(const std::filesystem::path& path);

/// MNIST's format, plain or gzip: images of shape [N, H, W], labels [N].
void convert_idx(const std::filesystem::path& images, const std::filesystem::path& labels, const ImageOutput& output);

/// CIFAR-10's binary version: data_batch_1.bin to data_batch_5.bin of `folder`, or test_batch.bin.
void convert_cifar10(const std::filesystem::path& folder, bool test, const ImageOutput& output);

struct FolderOptions {
  std::int64_t size = 0;      // resized to this square (bilinear, antialiased); 0: all images must have one size
  std::int64_t channels = 3;  // 3: RGB, 1: grey
  bool show_progress = false;
  std::int64_t shorter = 0;  // the shorter side becomes this long, and `size` is cut out of the middle; 0: squeezed
  std::vector<std::string> classes = {};                   // labels are places in this list; empty: sorted folders
  std::string classes_source = "";                         // whose list that is, for messages
  std::optional<std::filesystem::path> damaged_list = {};  // damaged files are left out and listed here
};
/// One folder per class, holding JPEG, PNG and WebP files. Classes and files are sorted by name. Decodes on all cores.
void convert_image_folder(const std::filesystem::path& folder, const FolderOptions& options, const ImageOutput& output);

struct SyntheticImages {
  std::int64_t count = 0, channels = 3, size = 32, classes = 10;
  std::uint64_t seed = 0;
};
/// Each class has a pattern of its own, the same for every seed; labels and noise come from the seed.
void make_synthetic_images(const SyntheticImages& options, const ImageOutput& output);

/// Where tokens go. With a validation path, the last `validation_fraction` (in (0, 1)) of them goes there.
struct TokenOutput {
  std::filesystem::path path;
  std::optional<std::filesystem::path> validation_path = {};
  double validation_fraction = 0;
};

/// How chats are written: as ChatML; with the system message that Qwen 2.5's template adds where there is none; as
/// Llama 3's template does; as that of Llama 3.1, with its two dates. None: records are no chats.
enum class ChatTemplate : std::uint8_t { none, chatml, qwen, llama3, llama3_1 };

/// How text becomes tokens.
struct TextOptions {
  std::string encoding = {};  // of the files, as iconv calls it; empty: bytes as they are
  enum class Documents : std::uint8_t {
    none,                         // all files are one text, and merges cross the borders of files and records
    files,                        // each file is a document
    blank_lines,                  // each run of lines without an empty one is a document; empty lines are left out
    records,                      // each record is a document
  } documents = Documents::none;  // each is tokenized for itself, behind the tokenizer's begin_of_text() if it has one,
                                  // and followed by its end_of_text()
  bool special = false;           // what looks like a special token in the text is that token
  /// Each line of a file is a record, a JSON object: the key of its text, or those of its prompt and its completion,
  /// which are tokenized apart and of which only the completion is trained. None: files are text.
  std::vector<std::string> fields = {};
  /// Each document fills whole samples of so many tokens, the rest is not trained; 0: none does.
  std::int64_t pad_to = 0;
  /// Documents share samples, and each attends to itself alone: with pad_to whole where they fit, in an order of their
  /// own, else in the order of the files and cut where samples end.
  bool packs_documents = false;
  /// Records are chats: `fields` names the list of their messages. What the assistant says is trained, and the token
  /// that ends it. Tokens are those of the template alone, without others around documents.
  ChatTemplate chat_template = ChatTemplate::none;
};

/// The files in their order; gzip is unpacked. Holds text and tokens in memory. Warns of what is odd (byte order marks,
/// zero bytes, bytes that are not UTF-8, special tokens taken as text).
void convert_text(const std::vector<std::filesystem::path>& files, const Tokenizer& tokenizer,
                  const TextOptions& options, const TokenOutput& output);

struct TokenFormat {
  std::optional<IntegerType> type = {};  // none: as the file's header says
  bool raw = false;                      // the whole file is tokens, whatever it begins with
};

/// Files of tokens, in their order: NumPy's .npy and llm.c's shards, known by their heads, or raw integers. Warns where
/// raw tokens look like those of another type. `vocabulary` 0: one more than the largest token.
void convert_tokens(const std::vector<std::filesystem::path>& files, const TokenFormat& format, std::int64_t vocabulary,
                    const TokenOutput& output);

/// Three of four tokens follow from the one before, the same way for every seed; the others are uniform.
void make_synthetic_tokens(std::int64_t count, std::int64_t vocabulary, std::uint64_t seed, const TokenOutput& output);

/// What is in a data set, as tables for people.
std::string describe_dataset(const std::filesystem::path& path);

}  // namespace lshdp::data
