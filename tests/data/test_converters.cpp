// Converters: what they write is what the bytes said, and every wrong input is named.
#include <numeric>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "files.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/data/converters.h"
#include "lshdp/data/dataset.h"
#include "support/temporary_directory.h"

namespace lshdp::data {
namespace {

namespace fs = std::filesystem;
using lshdp::test::TemporaryDirectory;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using Numbers = std::vector<std::int64_t>;

Numbers numbers(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.to(at::kLong).contiguous();
  return {flat.const_data_ptr<std::int64_t>(), flat.const_data_ptr<std::int64_t>() + flat.numel()};
}

/// Every sample of a data set, in order.
Batch all(Dataset& dataset) {
  Numbers samples(static_cast<std::size_t>(dataset.size()));
  std::iota(samples.begin(), samples.end(), std::int64_t{0});
  return dataset.read(samples);
}

class ConverterTest : public testing::Test {
 protected:
  fs::path file(const std::string& name, const std::string& content) {
    const fs::path path = folder_.path() / name;
    fs::create_directories(path.parent_path());
    write_file(path, content);
    return path;
  }
  /// The error of `f`, after which no output may be left.
  template <typename F>
  std::string error(F f) {
    const std::string message = test::usage_error(f);
    EXPECT_FALSE(fs::exists(out_));
    EXPECT_FALSE(fs::exists(out_.string() + ".tmp"));
    return message;
  }
  Numbers tokens(const fs::path& path) {
    const auto dataset = open_dataset(path, 1);
    Numbers result = numbers(all(*dataset).input);
    result.push_back(numbers(all(*dataset).target).back());
    return result;
  }

  TemporaryDirectory folder_;
  fs::path out_ = folder_ / "out.h5";
};

fs::path bpe(const char* name) { return fs::path(LSHDP_TEST_DATA) / "bpe" / name; }

/// A NumPy file, format 1.0, as numpy.save writes it: the header filled up to a multiple of 64.
std::string numpy(const std::string& descr, const std::string& shape, const std::string& values) {
  std::string header = "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }";
  header += std::string((127 - (10 + header.size()) % 64) % 64, ' ') + '\n';
  const std::string length{static_cast<char>(header.size()), static_cast<char>(header.size() >> 8)};
  return std::string("\x93NUMPY\x01\0", 8) + length + header + values;
}

TEST_F(ConverterTest, ConvertsIdxPlainAndCompressed) {
  const std::string images = test::idx({3, 2, 2}, "abcdefghijkl"), labels = test::idx({3}, std::string("\2\0\1", 3));
  for (const bool compressed : {false, true}) {
    convert_idx(file("i", compressed ? test::gzip(images) : images),
                file("l", compressed ? test::gzip(labels) : labels), {out_});
    const auto dataset = open_dataset(out_, 0);
    const Batch batch = all(*dataset);
    EXPECT_THAT(batch.input.sizes(), ElementsAre(3, 1, 2, 2));
    EXPECT_EQ(numbers(batch.input)[4], 'e');
    EXPECT_THAT(numbers(batch.target), ElementsAre(2, 0, 1));
    EXPECT_THAT(dataset->info().class_names, ElementsAre("0", "1", "2"));
    EXPECT_NEAR(dataset->info().mean[0], ('a' + 5.5) / 255, 1e-9);
    EXPECT_EQ(dataset->info().source, "IDX i l");
  }
}

TEST_F(ConverterTest, NamesIdxClassesAndBorrowsStatisticsIfAsked) {
  test::write_images(folder_ / "other.h5", 3);
  convert_idx(file("i", test::idx({1, 1, 1}, "a")), file("l", test::idx({1}, "\1")),
              {out_, {"shirt", "shoe", "bag"}, Statistics{{0.25}, {0.75}}});
  const DatasetInfo info = open_dataset(out_, 0)->info();
  EXPECT_THAT(info.class_names, ElementsAre("shirt", "shoe", "bag"));
  EXPECT_THAT(info.deviation, ElementsAre(0.75));
}

TEST_F(ConverterTest, RefusesIdxFilesThatDoNotBelongTogether) {
  const auto convert = [&](const std::string& images, const std::string& labels,
                           const std::vector<std::string>& names = {}) {
    return error([&] { convert_idx(file("i", images), file("l", labels), {out_, names}); });
  };
  const std::string one_image = test::idx({1, 1, 1}, "a"), one_label = test::idx({1}, "\1");
  EXPECT_THAT(convert(one_image, test::idx({2}, "\1\1")), AllOf(HasSubstr("1 images"), HasSubstr("2 labels")));
  EXPECT_THAT(convert(one_label, one_label), HasSubstr("i: has 1 dimensions; images have 3"));
  EXPECT_THAT(convert(one_image, one_image), HasSubstr("l: has 3 dimensions; labels have 1"));
  EXPECT_THAT(convert(test::idx({0, 1, 1}, ""), test::idx({0}, "")), HasSubstr("holds no images"));
  EXPECT_THAT(convert(one_image, one_label, {"only"}),
              HasSubstr("label of image 0 is 1, but there are names for 1 classes"));
  EXPECT_THAT(convert(test::gzip(one_image).substr(0, 20), one_label), HasSubstr("i: the gzip file is truncated"));
  EXPECT_THAT(error([&] { convert_idx(folder_ / "no", folder_ / "l", {out_}); }), HasSubstr("cannot read"));
}

TEST_F(ConverterTest, ConvertsCifar10TrainingAndTestBatches) {
  for (char i = 1; i <= 5; ++i) {
    file("c/data_batch_" + std::to_string(i) + ".bin",
         test::cifar10_record(i, 10, 20, 30) + test::cifar10_record(0, i, i, i));
  }
  file("c/test_batch.bin", test::cifar10_record(9, 1, 2, 3));
  convert_cifar10(folder_ / "c", false, {out_});
  auto dataset = open_dataset(out_, 0);
  EXPECT_THAT(numbers(all(*dataset).target), ElementsAre(1, 0, 2, 0, 3, 0, 4, 0, 5, 0));
  EXPECT_EQ(dataset->info().class_names[9], "truck");
  EXPECT_EQ(dataset->info().classes, 10);
  EXPECT_NEAR(dataset->info().mean[2], (30 + 3) / 2.0 / 255, 1e-9);
  convert_cifar10(folder_ / "c", true, {out_});
  dataset = open_dataset(out_, 0);
  EXPECT_THAT(numbers(all(*dataset).input.mean({0, 2, 3}, false, at::kFloat)), ElementsAre(1, 2, 3));
}

TEST_F(ConverterTest, RefusesCifar10WithoutOrWithDamagedBatches) {
  EXPECT_THAT(error([&] { convert_cifar10(folder_.path(), false, {out_}); }), HasSubstr("data_batch_1.bin"));
  file("test_batch.bin", "short");
  EXPECT_THAT(error([&] { convert_cifar10(folder_.path(), true, {out_}); }),
              HasSubstr("test_batch.bin: is no CIFAR-10 batch"));
  EXPECT_THAT(error([&] {
                convert_cifar10(folder_.path(), true, {out_, {"a"}});
              }),
              HasSubstr("CIFAR-10 has 10 classes"));
}

TEST_F(ConverterTest, ConvertsAFolderOfImagesPerClass) {
  file("p/dog/2.PNG", test::png(2, 1, 3, "abcdef"));
  file("p/dog/1.png", test::png(2, 1, 1, "xy"));
  file("p/cat/a.png", test::png(2, 1, 3, "ABCDEF"));
  file("p/cat/notes.txt", "left out");
  file("p/.hidden/x.png", "left out");
  convert_image_folder(folder_ / "p", {}, {out_});
  const auto dataset = open_dataset(out_, 0);
  EXPECT_THAT(dataset->info().class_names, ElementsAre("cat", "dog"));
  const Batch batch = all(*dataset);
  EXPECT_THAT(numbers(batch.target), ElementsAre(0, 1, 1));
  EXPECT_THAT(batch.input.sizes(), ElementsAre(3, 3, 1, 2));
  EXPECT_THAT(numbers(batch.input[0]), ElementsAre('A', 'D', 'B', 'E', 'C', 'F'));
  EXPECT_THAT(numbers(batch.input[1]), ElementsAre('x', 'y', 'x', 'y', 'x', 'y'));
  EXPECT_THAT(numbers(batch.input[2]), ElementsAre('a', 'd', 'b', 'e', 'c', 'f'));
}

TEST_F(ConverterTest, ReadsJpegAndResizesToGreySquares) {
  fs::create_directories(folder_ / "p" / "red");
  fs::copy(fs::path(LSHDP_TEST_DATA) / "red.jpg", folder_ / "p" / "red");
  convert_image_folder(folder_ / "p", {4, 1, false}, {out_});
  const auto dataset = open_dataset(out_, 0);
  const Batch batch = all(*dataset);
  EXPECT_THAT(batch.input.sizes(), ElementsAre(1, 1, 4, 4));
  // The grey value of (200, 40, 90): 0.299 R + 0.587 G + 0.114 B = 93.5.
  for (const std::int64_t pixel : numbers(batch.input)) EXPECT_NEAR(static_cast<double>(pixel), 93.5, 3);
}

TEST_F(ConverterTest, ResizesBilinearlyWithAntialiasing) {
  file("p/a/x.png", test::png(4, 4, 1,
                              std::string("\x00\x46\x8c\xd2", 4) + std::string("\x00\x46\x8c\xd2", 4) +
                                  std::string("\x00\x46\x8c\xd2", 4) + std::string("\x00\x46\x8c\xd2", 4)));
  convert_image_folder(folder_ / "p", {2, 1, false}, {out_});
  const auto dataset = open_dataset(out_, 0);
  EXPECT_THAT(numbers(all(*dataset).input),
              ElementsAre(50, 160, 50, 160));  // (3 x 0 + 3 x 70 + 140) / 7 and its mirror
}

TEST_F(ConverterTest, RefusesFoldersWithoutClassesImagesOrOneSize) {
  const auto convert = [&](const FolderOptions& options = {}, const std::vector<std::string>& names = {}) {
    return error([&] { convert_image_folder(folder_ / "p", options, {out_, names}); });
  };
  EXPECT_THAT(convert(), HasSubstr("cannot read"));
  file("p/note", "");
  EXPECT_THAT(convert(), HasSubstr("must hold one per class"));
  file("p/a/note", "");
  EXPECT_THAT(convert(), HasSubstr("a: holds no image files"));
  file("p/a/1.png", test::png(2, 1, 1, "xy"));
  EXPECT_THAT(convert({0, 2, false}), HasSubstr("choose 1 (grey) or 3 (RGB)"));
  EXPECT_THAT(convert({}, {"x", "y"}), HasSubstr("--class-names: 2 names are given for 1 folders"));
  file("p/a/2.png", test::png(1, 1, 1, "x"));
  EXPECT_THAT(convert(), AllOf(HasSubstr("2.png is 1 x 1"), HasSubstr("1.png is 2 x 1"), HasSubstr("--size")));
  file("p/a/2.png", test::png(2, 1, 1, "xy").substr(0, 45));
  EXPECT_THAT(convert(), HasSubstr("cannot decode"));
  file("p/a/2.png", "no image");
  EXPECT_THAT(convert(), HasSubstr("2.png: is neither a JPEG, a PNG nor a WebP image; --skip-damaged LIST"));
}

TEST_F(ConverterTest, KeepsShapesAndCutsOutTheMiddleIfAsked) {
  // Columns of 0, 70, 140, 210 at twice the height: the middle 2 x 2 of a shorter side of 2 is what a square would
  // give.
  file("p/a/x.png", test::png(4, 2, 1, std::string("\x00\x46\x8c\xd2\x00\x46\x8c\xd2", 8)));
  FolderOptions options{2, 1, false};
  options.shorter = 2;
  convert_image_folder(folder_ / "p", options, {out_});
  EXPECT_THAT(numbers(all(*open_dataset(out_, 0)).input), ElementsAre(70, 140, 70, 140));
  options.shorter = 1;
  fs::remove(out_);
  EXPECT_THAT(error([&] { convert_image_folder(folder_ / "p", options, {out_}); }), HasSubstr("--shorter 1 is less"));
  EXPECT_THAT(error([&] {
                FolderOptions alone;
                alone.shorter = 4;
                convert_image_folder(folder_ / "p", alone, {out_});
              }),
              HasSubstr("--shorter needs --size"));
}

TEST_F(ConverterTest, LeavesDamagedFilesOutIfAskedAndListsThem) {
  const std::string whole = test::png(2, 1, 1, "xy");
  file("p/a/1.png", whole.substr(0, 45));
  file("p/a/2.png", whole);
  file("p/a/two\nlines.png", "");
  file("p/b/1.png", test::png(2, 1, 1, "uv"));
  FolderOptions options{0, 1, false};
  EXPECT_THAT(error([&] { convert_image_folder(folder_ / "p", options, {out_}); }),
              AllOf(HasSubstr("1.png: cannot decode as PNG"), HasSubstr("--skip-damaged")));
  options.damaged_list = folder_ / "list";
  convert_image_folder(folder_ / "p", options, {out_});
  const Batch batch = all(*open_dataset(out_, 0));
  EXPECT_THAT(numbers(batch.input), ElementsAre('x', 'y', 'u', 'v'));
  EXPECT_THAT(numbers(batch.target), ElementsAre(0, 1));
  const std::string list = read_file(folder_ / "list");
  EXPECT_EQ(std::count(list.begin(), list.end(), '\n'), 2);
  EXPECT_THAT(list,
              AllOf(HasSubstr("1.png\tcannot decode as PNG: "), HasSubstr("two\\nlines.png\tthe file is empty\n")));
  fs::remove(folder_ / "p/a/2.png");
  fs::remove(folder_ / "p/b/1.png");
  file("p/b/1.png", "no");
  fs::remove(out_);
  EXPECT_THAT(error([&] { convert_image_folder(folder_ / "p", options, {out_}); }), HasSubstr("none of the 3 images"));
}

TEST_F(ConverterTest, ConvertsManyImagesInTheirOrder) {
  for (int i = 0; i < 60; ++i)
    file("p/a/" + std::to_string(100 + i) + ".png", test::png(1, 1, 1, std::string(1, static_cast<char>(i))));
  convert_image_folder(folder_ / "p", {0, 1, false}, {out_});
  Numbers expected(60);
  std::iota(expected.begin(), expected.end(), std::int64_t{0});
  EXPECT_EQ(numbers(all(*open_dataset(out_, 0)).input), expected);
}

TEST_F(ConverterTest, NumbersClassesAsAnotherDataSetDoes) {
  for (const char* name : {"dog", "bird"}) file(std::string("p/") + name + "/1.png", test::png(1, 1, 1, "x"));
  FolderOptions options;
  options.classes = {"bird", "cat", "dog"};
  options.classes_source = "train.h5";
  convert_image_folder(folder_ / "p", options, {out_});
  const auto dataset = open_dataset(out_, 0);
  EXPECT_THAT(dataset->info().class_names, ElementsAre("bird", "cat", "dog"));
  EXPECT_THAT(numbers(all(*dataset).target), ElementsAre(0, 2));
  options.classes = {"bird", "cat"};
  fs::remove(out_);
  EXPECT_THAT(error([&] { convert_image_folder(folder_ / "p", options, {out_}); }),
              HasSubstr("train.h5 has no class 'dog', which is a folder here"));
}

TEST_F(ConverterTest, RefusesClassNamesThatExchangeFoldersOrAreThereTwice) {
  for (const char* name : {"bird", "cat", "dog"}) file(std::string("p/") + name + "/1.png", test::png(1, 1, 3, "xyz"));
  const auto convert = [&](const std::vector<std::string>& names) {
    return error([&] { convert_image_folder(folder_ / "p", {}, {out_, names}); });
  };
  EXPECT_THAT(convert({"dog", "cat", "bird"}), AllOf(HasSubstr("'bird' 'dog'"), HasSubstr("--classes-of")));
  EXPECT_THAT(convert({"a", "a", "b"}), HasSubstr("--class-names: the class name 'a' is there twice"));
  convert_image_folder(folder_ / "p", {}, {out_, {"bird", "Katze", "Hund"}});
  EXPECT_THAT(open_dataset(out_, 0)->info().class_names, ElementsAre("bird", "Katze", "Hund"));
  // The same of other sources.
  fs::remove(out_);
  const fs::path images = file("i", test::idx({1, 1, 1}, "a")),
                 labels = file("l", test::idx({1}, std::string(1, '\0')));
  EXPECT_THAT(error([&] { convert_idx(images, labels, {out_, {"a", "a"}}); }), HasSubstr("twice"));
  EXPECT_THAT(error([&] { make_synthetic_images({1, 1, 1, 2, 0}, {out_, {"a", "a"}}); }), HasSubstr("twice"));
}

TEST_F(ConverterTest, StoresNamesOfAnyBytesAsMessagesShowThem) {
  file("p/caf\xe9/b\xfc.png", test::png(1, 1, 1, "x"));
  convert_image_folder(folder_ / "p", {}, {out_});
  EXPECT_THAT(open_dataset(out_, 0)->info().class_names, ElementsAre("caf\\xe9"));
}

TEST_F(ConverterTest, RefusesStatisticsOfOtherChannelsOrOfBytes) {
  const fs::path images = file("i", test::idx({1, 1, 1}, "a")),
                 labels = file("l", test::idx({1}, std::string(1, '\0')));
  const auto convert = [&](const Statistics& statistics) {
    return error([&] { convert_idx(images, labels, {out_, {}, statistics, "--statistics-of T"}); });
  };
  EXPECT_THAT(convert({{0.5, 0.5, 0.5}, {0.2, 0.2, 0.2}}),
              HasSubstr("--statistics-of T: mean and deviation are of 3 channels, but the images have 1"));
  EXPECT_THAT(convert({{123.7}, {58.4}}), HasSubstr("divide them by 255"));
  EXPECT_THAT(convert({{-2}, {0.5}}), HasSubstr("not of pixels scaled to [0, 1]"));
  EXPECT_THAT(convert({{0.5}, {0}}), HasSubstr("above 0"));
}

TEST_F(ConverterTest, NeverReplacesAnInput) {
  const std::string image = test::png(1, 1, 1, "x");
  const fs::path picture = file("p/a/1.png", image), labels = file("l", test::idx({1}, std::string(1, '\0')));
  fs::create_symlink(picture, folder_ / "link");
  const auto refused = [](auto convert) {
    EXPECT_THAT(test::usage_error(convert), HasSubstr("would overwrite an input"));
  };
  refused([&] { convert_image_folder(folder_ / "p", {}, {folder_ / "link"}); });
  refused([&] { convert_idx(file("i", test::idx({1, 1, 1}, "a")), labels, {labels}); });
  file("c/test_batch.bin", test::cifar10_record(1, 1, 1, 1));
  refused([&] { convert_cifar10(folder_ / "c", true, {folder_ / "c/test_batch.bin"}); });
  test::write_images(folder_ / "t.h5", 3);
  refused([&] { make_synthetic_images({1, 1, 1, 1, 0}, {folder_ / "t.h5", {}, {}, "", {folder_ / "t.h5"}}); });
  FolderOptions options;
  options.damaged_list = picture;
  refused([&] { convert_image_folder(folder_ / "p", options, {out_}); });
  options.damaged_list = out_;
  EXPECT_THAT(error([&] { convert_image_folder(folder_ / "p", options, {out_}); }), HasSubstr("both name"));
  EXPECT_EQ(read_file(picture), image);
}

TEST_F(ConverterTest, MakesTheSameSyntheticImagesForASeedAndOthersForAnother) {
  const auto make = [&](std::uint64_t seed) {
    make_synthetic_images({30, 2, 8, 5, seed}, {out_});
    return all(*open_dataset(out_, 0));
  };
  const Batch first = make(1), again = make(1), other = make(2);
  EXPECT_TRUE(first.input.equal(again.input) && first.target.equal(again.target));
  EXPECT_FALSE(first.input.equal(other.input));
  EXPECT_THAT(first.input.sizes(), ElementsAre(30, 2, 8, 8));
  EXPECT_EQ(open_dataset(out_, 0)->info().classes, 5);
}

TEST_F(ConverterTest, MakesSyntheticImagesThatCanBeLearned) {
  // The nearest of the class means of one seed tells the classes of another.
  const auto make = [&](std::uint64_t seed) {
    make_synthetic_images({200, 1, 16, 4, seed}, {out_});
    return all(*open_dataset(out_, 0));
  };
  const Batch train = make(1), test = make(2);
  std::vector<at::Tensor> means;
  for (int c = 0; c < 4; ++c) means.push_back(train.input.index({train.target == c}).to(at::kFloat).mean(0).flatten());
  const at::Tensor distance = at::cdist(test.input.to(at::kFloat).flatten(1), at::stack(means));
  EXPECT_GT((distance.argmin(1) == test.target).to(at::kFloat).mean().item<float>(), 0.99F);
}

TEST_F(ConverterTest, MakesSyntheticTokensThatFollowFromEachOther) {
  make_synthetic_tokens(20000, 50, 3, {out_});
  const Numbers made = tokens(out_);
  ASSERT_EQ(made.size(), 20000U);
  std::map<std::int64_t, std::map<std::int64_t, int>> after;
  for (std::size_t i = 1; i < made.size(); ++i) ++after[made[i - 1]][made[i]];
  int likely = 0;
  for (const auto& [token, next] : after) {
    ASSERT_LT(token, 50);
    int most = 0;
    for (const auto& [_, count] : next) most = std::max(most, count);
    likely += most;
  }
  EXPECT_NEAR(likely / 20000.0, 0.755, 0.03);
  EXPECT_EQ(open_dataset(out_, 1)->info().vocabulary, 50);
}

TEST_F(ConverterTest, RefusesImpossibleSyntheticData) {
  EXPECT_THAT(error([&] { make_synthetic_images({0, 1, 1, 1, 0}, {out_}); }), HasSubstr("number of images: 0"));
  EXPECT_THAT(error([&] { make_synthetic_images({1, 1, 1, 3, 0}, {out_, {"a"}}); }), HasSubstr("1 class names"));
  EXPECT_THAT(error([&] { make_synthetic_tokens(10, 0, 0, {out_}); }), HasSubstr("vocabulary of 0"));
  EXPECT_THAT(error([&] { make_synthetic_tokens(0, 9, 0, {out_}); }), HasSubstr("no tokens"));
}

TEST_F(ConverterTest, ConvertsTextFilesAsOneText) {
  convert_text({file("a.txt", "to be"), file("b.txt", " or not")}, *make_byte_tokenizer(), {}, {out_});
  const Numbers made = tokens(out_);
  EXPECT_EQ(std::string(made.begin(), made.end()), "to be or not");
  const DatasetInfo info = open_dataset(out_, 1)->info();
  EXPECT_EQ(info.tokenizer, "byte");
  EXPECT_EQ(info.vocabulary, 256);
  EXPECT_EQ(info.source, "text a.txt b.txt");
}

TEST_F(ConverterTest, PutsTheLastPartOfATextIntoTheValidationSet) {
  convert_text({file("a.txt", "0123456789")}, *make_byte_tokenizer(), {}, {out_, folder_ / "v.h5", 0.35});
  EXPECT_EQ(tokens(out_).size(), 7U);
  EXPECT_THAT(tokens(folder_ / "v.h5"), ElementsAre('7', '8', '9'));
}

TEST_F(ConverterTest, RefusesTextsThatAreEmptyOrCannotBeSplit) {
  const auto tokenizer = make_byte_tokenizer();
  const fs::path empty = file("e.txt", ""), text = file("t.txt", "0123456789");
  EXPECT_THAT(error([&] { convert_text({empty}, *tokenizer, {}, {out_}); }), HasSubstr("e.txt: holds no text"));
  EXPECT_THAT(error([&] { convert_text({folder_ / "no"}, *tokenizer, {}, {out_}); }), HasSubstr("No such file"));
  for (const double fraction : {0.0, 0.05, 1.0, -1.0}) {
    EXPECT_THAT(error([&] {
                  convert_text({text}, *tokenizer, {}, {out_, folder_ / "v.h5", fraction});
                }),
                HasSubstr("leaves no tokens"));
  }
  EXPECT_THAT(error([&] { convert_text({text}, *tokenizer, {}, {out_, out_, 0.5}); }), HasSubstr("need two files"));
  EXPECT_THAT(error([&] {
                convert_text({text}, *tokenizer, {}, {out_, folder_ / "no" / "v.h5", 0.5});
              }),
              HasSubstr("cannot create"));
}

TEST_F(ConverterTest, PutsTheEndOfTextTokenAfterEachDocument) {
  const auto tokenizer = make_gpt2_tokenizer(bpe("vocab.json"), bpe("merges.txt"));
  const std::int64_t end = *tokenizer->end_of_text();
  const auto ids = [&](const std::string& text) {
    const auto encoded = tokenizer->encode(text);
    return Numbers(encoded.begin(), encoded.end());
  };
  const auto joined = [](std::initializer_list<Numbers> parts) {
    Numbers all_parts;
    for (const Numbers& part : parts) all_parts.insert(all_parts.end(), part.begin(), part.end());
    return all_parts;
  };
  const std::vector<fs::path> files{file("a.txt", "the\nno"), file("b.txt", "de\n\n \r\n\nis\nlate\n\n"),
                                    file("c.txt", "")};
  using Documents = TextOptions::Documents;
  convert_text(files, *tokenizer, {}, {out_});
  EXPECT_EQ(tokens(out_), ids("the\nnode\n\n \r\n\nis\nlate\n\n"));
  convert_text(files, *tokenizer, {.documents = Documents::files}, {out_});
  EXPECT_EQ(tokens(out_), joined({ids("the\nno"), {end}, ids("de\n\n \r\n\nis\nlate\n\n"), {end}}));
  convert_text(files, *tokenizer, {.documents = Documents::blank_lines}, {out_});
  EXPECT_EQ(tokens(out_), joined({ids("the\nno"), {end}, ids("de\n"), {end}, ids("is\nlate\n"), {end}}));
  fs::remove(out_);
  EXPECT_THAT(error([&] { convert_text(files, *make_byte_tokenizer(), {.documents = Documents::files}, {out_}); }),
              HasSubstr("take --tokenizer gpt2"));
}

TEST_F(ConverterTest, TakesSpecialTokensInTheTextOnlyIfAsked) {
  const auto tokenizer = make_gpt2_tokenizer(bpe("vocab.json"), bpe("merges.txt"));
  int special = 0;
  for (const Json& reference : read_json(bpe("cases.json"))) {
    if (!reference.contains("special_ids")) continue;
    const std::vector<fs::path> files{file("t.txt", reference["text"])};
    convert_text(files, *tokenizer, {.special = true}, {out_});
    EXPECT_EQ(tokens(out_), reference["special_ids"].get<Numbers>());
    convert_text(files, *tokenizer, {}, {out_});
    EXPECT_EQ(tokens(out_), reference["ids"].get<Numbers>());
    ++special;
  }
  EXPECT_GT(special, 3);
}

TEST_F(ConverterTest, ConvertsEncodingsToUtf8) {
  const auto convert = [&](const std::string& content, const std::string& encoding) {
    convert_text({file("t.txt", content)}, *make_byte_tokenizer(), {.encoding = encoding}, {out_});
    const Numbers made = tokens(out_);
    return std::string(made.begin(), made.end());
  };
  // "h\u00e9\U0001f600" as Python's str.encode writes it.
  const std::string text = "h\u00e9\U0001f600";
  const std::string utf16le("h\0\xe9\0\x3d\xd8\0\xde", 8), utf16be("\0h\0\xe9\xd8\x3d\xde\0", 8);
  EXPECT_EQ(convert("\xff\xfe" + utf16le, "UTF-16"), text);
  EXPECT_EQ(convert("\xfe\xff" + utf16be, "UTF-16"), text);
  EXPECT_EQ(convert(utf16le, "UTF-16LE"), text);
  EXPECT_EQ(convert(utf16be, "UTF-16BE"), text);
  EXPECT_EQ(convert(std::string("\xff\xfe\0\0h\0\0\0\xe9\0\0\0\0\xf6\x01\0", 16), "UTF-32"), text);
  EXPECT_EQ(convert("\xef\xbb\xbf" + text, "UTF-8"), text);
  EXPECT_EQ(convert("\xef\xbb\xbf" + text, ""), "\xef\xbb\xbf" + text);
  EXPECT_EQ(convert("h\xe9", "LATIN1"), "h\u00e9");
  EXPECT_EQ(convert("ba", "CP1258"), "ba");  // marks can follow an "a"
  EXPECT_EQ(convert(test::gzip("\xff\xfe" + utf16le), "UTF-16"), text);
  fs::remove(out_);
  EXPECT_THAT(error([&] { convert("ab\xff", "UTF-8"); }), HasSubstr("t.txt: byte 2 is not UTF-8 text"));
  EXPECT_THAT(error([&] { convert("h", "UTF-16LE"); }), HasSubstr("byte 0"));
  EXPECT_THAT(error([&] { convert("h", "NO-SUCH"); }), HasSubstr("--encoding: 'NO-SUCH' is not known"));
}

TEST_F(ConverterTest, UnpacksGzipTextAndRefusesWhatIsNoText) {
  const auto tokenizer = make_byte_tokenizer();
  convert_text({file("a.gz", test::gzip("some text")), file("b.txt", "!")}, *tokenizer, {}, {out_});
  EXPECT_EQ(tokens(out_).size(), 10U);
  fs::remove(out_);
  const auto refusal = [&](const std::string& content) {
    return error([&] { convert_text({file("t", content)}, *tokenizer, {}, {out_}); });
  };
  EXPECT_THAT(refusal(test::gzip("some text").substr(0, 20)), HasSubstr("t: the gzip file is truncated"));
  EXPECT_THAT(refusal("PK\x03\x04 and more"), HasSubstr("t: is a zip archive"));
  EXPECT_THAT(refusal(test::gzip("PK\x03\x04 and more")), HasSubstr("t: is a zip archive"));
  EXPECT_THAT(refusal("\x89HDF\r\n\x1a\n..."), HasSubstr("t: is an HDF5 file"));
  EXPECT_THAT(refusal(numpy("<u2", "(1,)", "ab")), HasSubstr("t: is a NumPy file"));
  EXPECT_THAT(refusal("%PDF-1.7"), HasSubstr("t: is a PDF file, not text; write its text"));
  EXPECT_THAT(refusal("\xff\xd8\xff\xdb...."), HasSubstr("t: is a JPEG image, not text; it holds no text"));
  EXPECT_THAT(refusal("version https://git-lfs.github.com/spec/v1\n"), HasSubstr("git lfs pull"));
  EXPECT_THAT(refusal(std::string(257, 'f') + std::string("ustar\0"
                                                          "00",
                                                          8)),
              HasSubstr("t: is a tar archive"));
}

TEST_F(ConverterTest, ConvertsRawTokensOfEachType) {
  const auto convert = [&](const std::string& bytes, const IntegerType& type) {
    convert_tokens({file("t", bytes)}, {type}, 0, {out_});
    return tokens(out_);
  };
  EXPECT_THAT(convert("\x01\x02\xff", {1}), ElementsAre(1, 2, 255));
  EXPECT_EQ(open_dataset(out_, 1)->info().vocabulary, 256);
  EXPECT_THAT(convert(std::string("\x01\x02\x03\x04\x05\x00\x00\x00", 8), {4}), ElementsAre(0x04030201, 5));
  EXPECT_THAT(convert(std::string("\x01\x02\x00\x00\x00\x00\x00\x00\x09\0\0\0\0\0\0\0", 16), {8, true}),
              ElementsAre(0x0201, 9));
  EXPECT_THAT(convert(std::string("\x01\x02\x00\x09", 4), {2, false, true}), ElementsAre(0x0102, 9));
  EXPECT_THAT(convert(std::string("\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x03", 16), {8, true, true}),
              ElementsAre(0x0102, 3));
  convert_tokens({file("t", std::string("\x01\x02\x50\xc3\x00\x00", 6))}, {IntegerType{2}}, 50257, {out_});
  EXPECT_THAT(tokens(out_), ElementsAre(0x0201, 0xc350, 0));
  EXPECT_EQ(open_dataset(out_, 1)->info().vocabulary, 50257);
}

TEST_F(ConverterTest, ConvertsSeveralTokenFilesInTheirOrder) {
  const fs::path first = file("a", std::string("\x01\0\x02\0", 4)),
                 second = file("b", numpy("<u2", "(1,)", "\x2c\x01")), third = file("c", std::string("\x05\0", 2));
  convert_tokens({first, second, third}, {IntegerType{2}}, 0, {out_});
  EXPECT_THAT(tokens(out_), ElementsAre(1, 2, 300, 5));
  EXPECT_EQ(open_dataset(out_, 1)->info().source, "tokens a b c");
}

TEST_F(ConverterTest, ReadsNumpyFilesByTheirHeaders) {
  const auto convert = [&](const std::string& content) {
    convert_tokens({file("t.npy", content)}, {}, 0, {out_});
    return tokens(out_);
  };
  EXPECT_THAT(convert(numpy("<u2", "(3,)", std::string("\x01\0\x02\0\x03\0", 6))), ElementsAre(1, 2, 3));
  EXPECT_THAT(convert(numpy(">u2", "(2,)", std::string("\x01\0\0\x02", 4))), ElementsAre(256, 2));
  EXPECT_THAT(convert(numpy("<i8", "(2,)", std::string("\x01\0\0\0\0\0\0\0\x2c\x01\0\0\0\0\0\0", 16))),
              ElementsAre(1, 300));
  EXPECT_THAT(convert(numpy("|u1", "(2,)", "\x07\x09")), ElementsAre(7, 9));
  fs::remove(out_);
  const auto refusal = [&](const std::string& content, const TokenFormat& format = {}) {
    return error([&] { convert_tokens({file("t.npy", content)}, format, 0, {out_}); });
  };
  EXPECT_THAT(refusal(numpy("<f4", "(1,)", "abcd")), HasSubstr("t.npy: the NumPy file holds numbers of type '<f4'"));
  EXPECT_THAT(refusal(numpy("<u2", "(2, 1)", "abcd")), HasSubstr("shape (2, 1); tokens have one dimension"));
  EXPECT_THAT(refusal(numpy("<u2", "()", "ab")), HasSubstr("one dimension"));
  EXPECT_THAT(refusal(numpy("<u2", "(3,)", "abcd")), AllOf(HasSubstr("says 3 tokens"), HasSubstr("truncated")));
  EXPECT_THAT(refusal(numpy("<u2", "(1,)", "abcd")), HasSubstr("too long"));
  EXPECT_THAT(refusal(numpy("<u2", "(1,)", "ab").substr(0, 40)), HasSubstr("truncated"));
  EXPECT_THAT(refusal(numpy("<u2", "(1,)", "ab"), {IntegerType{4}}), AllOf(HasSubstr("u16"), HasSubstr("not u32")));
}

TEST_F(ConverterTest, ReadsShardsOfLlmC) {
  const auto shard = [](int magic, int count, const std::string& bytes) {
    std::string header(1024, '\0');
    for (std::size_t i = 0; i < 4; ++i) header[i] = static_cast<char>(magic >> 8 * i);
    header[4] = 1;
    for (std::size_t i = 0; i < 4; ++i) header[8 + i] = static_cast<char>(count >> 8 * i);
    return header + bytes;
  };
  const auto convert = [&](const std::string& content) {
    convert_tokens({file("t.bin", content)}, {}, 0, {out_});
    return tokens(out_);
  };
  EXPECT_THAT(convert(shard(20240520, 2, std::string("\x01\x02\x03\0", 4))), ElementsAre(0x0201, 3));
  EXPECT_THAT(convert(shard(20240801, 2, std::string("\x01\x02\x03\0\x04\0\0\0", 8))), ElementsAre(0x030201, 4));
  convert_tokens({file("t.bin", shard(20240520, 2, std::string("\x01\x02\x03\0", 4)))}, {IntegerType{2}, true}, 0,
                 {out_});
  EXPECT_EQ(tokens(out_).size(), 514U);  // --raw
  fs::remove(out_);
  const auto refusal = [&](const std::string& content, const TokenFormat& format = {}) {
    return error([&] { convert_tokens({file("t.bin", content)}, format, 0, {out_}); });
  };
  EXPECT_THAT(refusal(shard(20240520, 3, "abcd")),
              AllOf(HasSubstr("llm.c shard says 3 tokens"), HasSubstr("truncated")));
  EXPECT_THAT(refusal(shard(20240520, 3, "abcd").substr(0, 100)), HasSubstr("truncated"));
  EXPECT_THAT(refusal(shard(20240801, 1, "abcd"), {IntegerType{2}}), HasSubstr("holds u32 by its header, not u16"));
}

TEST_F(ConverterTest, ConvertsTokensInManyBlocks) {
  std::string bytes((std::size_t{5} << 19) + 7, '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i % 251);
  convert_tokens({file("t", bytes)}, {IntegerType{1}}, 0, {out_, folder_ / "v.h5", 0.4});
  const Numbers train = tokens(out_), validation = tokens(folder_ / "v.h5");
  ASSERT_EQ(train.size() + validation.size(), bytes.size());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    ASSERT_EQ(i < train.size() ? train[i] : validation[i - train.size()], static_cast<std::int64_t>(i % 251));
  }
}

TEST_F(ConverterTest, TakesNumbersThatBeginAsAnImageDoes) {
  convert_tokens({file("t", std::string("\0\0\1\0", 4))}, {IntegerType{1}}, 0, {out_});  // an icon
  EXPECT_THAT(tokens(out_), ElementsAre(0, 0, 1, 0));
  convert_tokens({file("t", "BMBM")}, {IntegerType{2}}, 0, {out_});  // a bitmap
  EXPECT_THAT(tokens(out_), ElementsAre(0x4d42, 0x4d42));
}

TEST_F(ConverterTest, RefusesTokensThatDoNotFit) {
  const fs::path path = file("t", std::string("\x01\x00\x09\x00\xff", 5)), empty = file("e", "");
  const auto refusal = [&](const fs::path& from, const TokenFormat& format, std::int64_t vocabulary = 0) {
    return error([&] { convert_tokens({from}, format, vocabulary, {out_}); });
  };
  EXPECT_THAT(refusal(path, {IntegerType{2}}), HasSubstr("5 bytes are not a multiple of 2"));
  EXPECT_THAT(refusal(path, {IntegerType{1}}, 9), HasSubstr("token 2 is 9; with a vocabulary of 9"));
  EXPECT_THAT(refusal(path, {}), HasSubstr("raw tokens need --dtype"));
  EXPECT_THAT(refusal(empty, {IntegerType{1}}), HasSubstr("holds no tokens"));
  EXPECT_THAT(refusal(folder_ / "no", {IntegerType{1}}), HasSubstr("cannot read"));
  EXPECT_THAT(refusal(file("t", "\xff\xff\xff\xff"), {IntegerType{4}}),
              HasSubstr("token 0 is 4294967295; tokens are from 0"));
  EXPECT_THAT(refusal(file("t", "\x9c\xff"), {IntegerType{2, true}}), HasSubstr("token 0 is -100"));
  EXPECT_THAT(refusal(file("t", "PK\x03\x04"), {IntegerType{2}}),
              AllOf(HasSubstr("a zip archive"), HasSubstr("--raw")));
  EXPECT_THAT(refusal(file("t", test::gzip("abcd")), {IntegerType{2}}), HasSubstr("a gzip file"));
  EXPECT_THAT(refusal(file("t", "\x89HDF\r\n\x1a\n"), {IntegerType{2}}), HasSubstr("an HDF5 file"));
  EXPECT_THAT(refusal(file("t", std::string("\x08\0\0\0\0\0\0\0{\"a\":1}", 15)), {IntegerType{1}}),
              HasSubstr("a safetensors file"));
  EXPECT_THAT(refusal(file("t", std::string("\xff\xfe"
                                            "a\0",
                                            4)),
                      {IntegerType{2}}),
              HasSubstr("UTF-16 text"));
}

TEST_F(ConverterTest, KeepsTheTokenizerWithItsTokens) {
  const auto tokenizer = make_gpt2_tokenizer(bpe("vocab.json"), bpe("merges.txt"));
  convert_text({file("a.txt", "the nodes train")}, *tokenizer, {}, {out_, folder_ / "v.h5", 0.5});
  for (const fs::path& path : {out_, folder_ / "v.h5"}) {
    const TokenizerRecord record = read_tokenizer(path);
    EXPECT_EQ(record.name, "gpt2");
    EXPECT_EQ(record.checksum, tokenizer->record().checksum);
    EXPECT_EQ(record.vocabulary_json, read_file(bpe("vocab.json")));
    EXPECT_EQ(record.merges_text, read_file(bpe("merges.txt")));
    EXPECT_EQ(open_dataset(path, 1)->info().tokenizer_checksum, record.checksum);
  }
  convert_tokens({file("t", "abc")}, {IntegerType{1}}, 0, {out_});
  EXPECT_EQ(read_tokenizer(out_).name, "");
}

TEST_F(ConverterTest, DescribesImagesWithTheirClassCounts) {
  test::write_images(out_, 7);
  const std::string text = describe_dataset(out_);
  EXPECT_THAT(text, AllOf(HasSubstr("2 x 3 x 4"), HasSubstr("a test"), testing::ContainsRegex("mean +0\\.1")));
  EXPECT_THAT(text, AllOf(testing::ContainsRegex("0 +a +3\n"), testing::ContainsRegex("2 +c +2\n")));
  EXPECT_EQ(read_statistics(out_).mean.size(), 2U);
}

TEST_F(ConverterTest, DescribesTokens) {
  test::write_tokens(out_, 1234, 77);
  EXPECT_THAT(describe_dataset(out_),
              AllOf(HasSubstr("1,234"), testing::ContainsRegex("vocabulary +77"), HasSubstr("byte")));
  EXPECT_THAT(test::usage_error([&] { read_statistics(out_); }), HasSubstr("holds tokens"));
}

}  // namespace
}  // namespace lshdp::data
