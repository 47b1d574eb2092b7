// Images from folders to training and evaluation, by the real binary: what is said and what is refused.
#include <algorithm>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include "lshdp/core/file.h"
#include "program.h"
#include "support/temporary_directory.h"
#include "training_files.h"

namespace lshdp::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

/// Images whose pixels tests/data compares with Pillow's.
const fs::path kImages = fs::path(LSHDP_TEST_DATA).parent_path().parent_path() / "data/data/images";

class ImageData : public TrainingFixture<> {
 protected:
  CommandResult run(const std::string& command) {
    return run_command("cd " + folder_.path().string() + " && " + command, 60);
  }
  CommandResult lshdp(const std::string& arguments) { return run(lshdp_binary() + " " + arguments); }
  CommandResult succeeds(const std::string& arguments) {
    const CommandResult result = lshdp(arguments);
    EXPECT_EQ(result.exit_code, 0) << arguments << "\n" << result.output;
    return result;
  }
  /// The last line of standard error, with exit code 2.
  std::string refused(const std::string& arguments) {
    const CommandResult result = lshdp(arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments << "\n" << result.output;
    EXPECT_EQ(count_lines_with(result.errors, "lshdp "), 1) << result.errors;
    return result.errors;
  }
  void put(const std::string& image, const std::string& path) {
    fs::create_directories((folder_.path() / path).parent_path());
    fs::copy(kImages / image, folder_.path() / path);
  }
  /// A data set for "vit.json" of TrainingFiles.
  void make(const std::string& out, const std::string& options) {
    succeeds("data synthetic-images --count 40 --size 8 --out " + out + " " + options);
  }
  /// The last loss that a command printed.
  static double loss(const std::string& output) { return std::stod(output.substr(output.rfind("loss ") + 5)); }
  static std::string vit() { return "--model " + files_->path("vit.json"); }
};

TEST_F(ImageData, ConvertsPhotosOfAllFormatsToSquaresThatKeepTheirShape) {
  put("jpeg-exif-6.jpg", "p/a/1.JPG");
  put("png-palette.png", "p/a/2.png");
  put("webp-alpha.webp", "p/b/1.webp");
  const CommandResult result = succeeds("data images p --size 8 --shorter 9 --statistics imagenet --out x.h5");
  EXPECT_THAT(result.errors, Not(HasSubstr("squeezed")));
  EXPECT_THAT(succeeds("data info x.h5").output,
              AllOf(HasSubstr("3 x 8 x 8"), ContainsRegex("mean +0.4850, 0.4560, 0.4060"),
                    ContainsRegex("deviation +0.2290, 0.2240, 0.2250")));
  EXPECT_THAT(succeeds("data images p --size 8 --out x.h5").errors, HasSubstr("3 of 3 images are not square"));
}

TEST_F(ImageData, LeavesDamagedFilesOutAndSaysHowMany) {
  put("png-rgb.png", "p/a/1.png");
  write_file(folder_ / "p/a/2.png", read_file(kImages / "png-rgb.png").substr(0, 100));
  write_file(folder_ / "p/a/3.png", "GIF89a");
  EXPECT_THAT(refused("data images p --out x.h5"),
              AllOf(HasSubstr("p/a/2.png: cannot decode as PNG: the file ends early"), HasSubstr("--skip-damaged")));
  EXPECT_THAT(succeeds("data images p --skip-damaged list --out x.h5").errors,
              HasSubstr("2 of 3 images were left out"));
  EXPECT_EQ(read_file(folder_ / "list"),
            "p/a/2.png\tcannot decode as PNG: the file ends early\n"
            "p/a/3.png\tis a GIF image; convert it to PNG or JPEG\n");
  EXPECT_THAT(succeeds("data info x.h5").output, ContainsRegex("images +1\n"));
}

TEST_F(ImageData, SaysHowFoldersWithNumbersAreCounted) {
  for (const char* name : {"1", "2", "10"}) put("png-rgb.png", std::string("p/") + name + "/a.png");
  EXPECT_THAT(succeeds("data images p --out x.h5").errors, HasSubstr("folder 10 is class 1, folder 2 is class 2"));
}

TEST_F(ImageData, TakesNamesOfAnyBytes) {
  put("png-rgb.png", "p/caf\xe9/a\nb.png");
  EXPECT_THAT(succeeds("data images p --out x.h5").errors, HasSubstr("is stored as 'caf\\xe9'"));
  EXPECT_THAT(succeeds("data info x.h5").output, HasSubstr("caf\\xe9"));
  write_file(folder_ / "p/caf\xe9/b\n.png", "");
  EXPECT_THAT(refused("data images p --out x.h5"), HasSubstr("p/caf\\xe9/b\\n.png: the file is empty"));
}

TEST_F(ImageData, NumbersATestSetAsItsTrainingSet) {
  for (const char* name : {"bird", "cat", "dog"}) put("png-rgb.png", std::string("train/") + name + "/a.png");
  for (const char* name : {"bird", "dog"}) put("png-rgb.png", std::string("val/") + name + "/a.png");
  succeeds("data images train --out train.h5");
  EXPECT_THAT(succeeds("data images val --classes-of train.h5 --statistics-of train.h5 --out val.h5").errors,
              HasSubstr("class 'cat' of train.h5 has no folder here"));
  EXPECT_THAT(succeeds("data info val.h5").output, ContainsRegex("2 +dog +1"));
  EXPECT_THAT(refused("data images val --classes-of train.h5 --class-names a,b --out val.h5"), HasSubstr("exclude"));
  EXPECT_THAT(refused("data images train --classes-of train.h5 --out train.h5"), HasSubstr("overwrite an input"));
  EXPECT_THAT(refused("data images train --class-names dog,cat,bird --out x.h5"), HasSubstr("--classes-of"));
}

TEST_F(ImageData, RefusesStatisticsOfOtherChannels) {
  make("grey.h5", "--channels 1");
  EXPECT_THAT(refused("data synthetic-images --count 4 --statistics-of grey.h5 --out x.h5"),
              HasSubstr("--statistics-of grey.h5: mean and deviation are of 1 channels, but the images have 3"));
  EXPECT_THAT(refused("data synthetic-images --count 4 --channels 1 --statistics imagenet --out x.h5"),
              HasSubstr("of 3 channels, but the images have 1"));
  EXPECT_THAT(refused("data synthetic-images --count 4 --statistics imagenet --statistics-of grey.h5 --out x.h5"),
              HasSubstr("exclude"));
}

TEST_F(ImageData, EvaluatesWithTheClassesAndStatisticsOfTraining) {
  make("train.h5", "--channels 1 --classes 3 --class-names bird,cat,dog");
  make("val.h5", "--channels 1 --classes 3 --seed 1 --class-names dog,bird,cat");
  make("other.h5", "--channels 1 --classes 3 --class-names bird,cat,cow");
  const std::string train = "train " + vit() + " --data train.h5 --steps 1 --batches 4 ";
  const CommandResult result = succeeds(train + "--eval-data val.h5 --save w.safetensors");
  EXPECT_THAT(result.errors, AllOf(HasSubstr("val.h5: classes are numbered by their names as in train.h5"),
                                   HasSubstr("val.h5 is normalised as train.h5")));
  EXPECT_THAT(refused(train + "--eval-data other.h5"), HasSubstr("other.h5 has a class 'cow'"));
  const std::string evaluate = "evaluate " + vit() + " --init w.safetensors --data val.h5 ";
  const CommandResult alone = succeeds(evaluate), matched = succeeds(evaluate + "--trained-on train.h5");
  EXPECT_THAT(matched.errors, HasSubstr("val.h5: classes are numbered"));
  EXPECT_GT(std::abs(loss(alone.output) - loss(matched.output)), 1e-3);
  // What train evaluated is what evaluate computes with the training set at hand.
  EXPECT_NEAR(loss(result.output), loss(matched.output), 1e-4);
  EXPECT_THAT(refused(evaluate + "--trained-on other.h5"), HasSubstr("val.h5 has a class 'dog'"));
}

TEST_F(ImageData, EvaluatesARunWithTheClassesAndStatisticsItRecorded) {
  make("train.h5", "--channels 1 --classes 3 --class-names bird,cat,dog");
  make("val.h5", "--channels 1 --classes 3 --seed 1 --class-names dog,bird,cat");
  const CommandResult trained =
      succeeds("train " + vit() + " --data train.h5 --eval-data val.h5 --steps 1 --batches 4 --results run");
  fs::remove(folder_ / "train.h5");
  const CommandResult result = succeeds("evaluate --init run --data val.h5");
  EXPECT_THAT(result.errors, AllOf(ContainsRegex("val.h5: classes are numbered by their names as in .*train.h5"),
                                   ContainsRegex("val.h5 is normalised as .*train.h5")));
  EXPECT_NEAR(loss(trained.output), loss(result.output), 1e-4);
}

TEST_F(ImageData, EvaluatesACheckpointThatWasSetAsideAsItsRun) {
  make("train.h5", "--channels 1 --classes 3 --class-names bird,cat,dog");
  make("val.h5", "--channels 1 --classes 3 --seed 1 --class-names dog,bird,cat");
  succeeds("train " + vit() + " --data train.h5 --steps 2 --batches 4 --checkpoint-every 1 --results run");
  succeeds("train " + vit() + " --data train.h5 --steps 2 --batches 4 --resume run/checkpoints/step-1");
  const CommandResult result = succeeds("evaluate --init run/checkpoints/abandoned-1/step-2 --data val.h5");
  EXPECT_THAT(result.errors, ContainsRegex("classes are numbered by their names as in .*train.h5"));
}

TEST_F(ImageData, WarnsWhereNothingSaysWhatWeightsWereTrainedOn) {
  make("val.h5", "--channels 1 --classes 3");
  succeeds("init " + vit() + " --save w.safetensors");
  EXPECT_THAT(
      succeeds("evaluate " + vit() + " --init w.safetensors --data val.h5").errors,
      ContainsRegex("W val.h5: classes are numbered and images normalised as the file itself says.*--trained-on"));
}

TEST_F(ImageData, SaysThatImagesAreResizedAsTheyAreRead) {
  succeeds("data synthetic-images --count 8 --channels 1 --size 12 --classes 2 --out train.h5");
  EXPECT_THAT(succeeds("train " + vit() + " --data train.h5 --steps 1 --batches 4").errors,
              HasSubstr("train.h5: images of 12 x 12 (width x height) are resized to the model's 8 x 8"));
  put("png-grey.png", "p/a/1.png");
  put("png-grey.png", "p/a/2.png");
  succeeds("data images p --channels 1 --out wide.h5");
  const CommandResult result = succeeds("train " + vit() + " --data wide.h5 --steps 1 --batches 2");
  EXPECT_THAT(result.errors, HasSubstr("wide.h5: images of 21 x 14 (width x height) are squeezed"));
  EXPECT_EQ(count_lines_with(result.errors, "W wide.h5"), 1) << result.errors;
}

TEST_F(ImageData, TellsModelsOfImagesFromModelsOfTokens) {
  EXPECT_THAT(
      refused("train " + files_->options("vit") + " --steps 1 --batches 1 --eval-data " + files_->path("gpt.h5")),
      HasSubstr("gpt.h5 holds tokens, but the model reads images"));
  EXPECT_THAT(
      refused("train " + files_->options("gpt") + " --steps 1 --batches 1 --eval-data " + files_->path("vit.h5")),
      HasSubstr("vit.h5 holds images, but the model reads tokens"));
}

TEST_F(ImageData, IsReadAndWrittenWhereFilesCannotBeLocked) {
  const std::string without_locks = "LD_PRELOAD=" NO_LOCKS " " + lshdp_binary();
  const CommandResult made = run(without_locks + " data synthetic-images --count 4 --out x.h5");
  EXPECT_EQ(made.exit_code, 0) << made.output;
  EXPECT_THAT(run(without_locks + " data info x.h5").output, ContainsRegex("images +4\n"));
}

TEST_F(ImageData, SaysThatTheDiskIsFullAndLeavesNothing) {
  const fs::path disk = folder_ / "disk";
  fs::create_directory(disk);
  if (mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=65536") != 0) GTEST_SKIP() << "needs to mount a small tmpfs";
  for (int run = 0; run < 3; ++run) {
    const CommandResult result = lshdp("data synthetic-images --count 1000 --out disk/x.h5");
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_EQ(result.errors, "lshdp data: cannot write disk/x.h5: No space left on device\n");
    EXPECT_TRUE(fs::is_empty(disk));
  }
  umount(disk.c_str());
}

}  // namespace
}  // namespace lshdp::test
