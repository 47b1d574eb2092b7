// Configurations and overrides against what hydra-core makes of them, and our messages.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/explore/config.h"
#include "support/temporary_directory.h"

namespace lshdp::explore::test {
namespace {

using lshdp::test::TemporaryDirectory;
using testing::AllOf;
using testing::HasSubstr;

const std::filesystem::path kData = std::filesystem::path(LSHDP_TEST_DATA) / "hydra";

std::string message_of(const std::string& config, const std::vector<std::string>& overrides) {
  try {
    compose({kData / "configs"}, config, overrides);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

/// As scripts/make_hydra_reference.py writes it.
Json plain(const Json& value) {
  if (value.is_number_float() && std::isinf(value.get<double>())) return "inf";
  Json result = value;
  if (value.is_structured())
    for (Json& entry : result) entry = plain(entry);
  return result;
}

TEST(Hydra, AcceptsRefusesAndComposesTheSame) {
  const Json cases = read_json(kData / "reference.json");
  int accepted = 0, refused = 0;
  for (const Json& wanted : cases) {
    const auto overrides = wanted["overrides"].get<std::vector<std::string>>();
    SCOPED_TRACE(wanted["config"].get<std::string>() + " " + wanted["overrides"].dump());
    try {
      const Configuration found = compose({kData / "configs"}, wanted["config"].get<std::string>(), overrides);
      ++accepted;
      if (wanted.contains("tree"))
        EXPECT_EQ(plain(found.tree), wanted["tree"]);
      else
        ADD_FAILURE() << "Hydra refuses it: " << wanted["refused"] << "; we make " << found.tree.dump();
    } catch (const UsageError& error) {
      ++refused;
      EXPECT_TRUE(wanted.contains("refused")) << "Hydra accepts it; we say: " << error.what();
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
  }
  EXPECT_GE(accepted, 60);
  EXPECT_GE(refused, 60);
}

TEST(Override, ThatNamesNoKeySaysWhichIsNear) {
  EXPECT_THAT(message_of("main", {"model.seq_lenght=1"}),
              AllOf(HasSubstr("there is no key model.seq_lenght"), HasSubstr("did you mean model.seq_length?"),
                    HasSubstr("to add one: +model.seq_lenght=1")));
  EXPECT_THAT(message_of("main", {"seq_length=1"}), HasSubstr("did you mean model.seq_length?"));
  EXPECT_THAT(message_of("main", {"+model.seq_length=1"}),
              HasSubstr("is there already; without + its value is changed"));
}

TEST(Override, ThatCannotBeReadSaysWhere) {
  EXPECT_THAT(message_of("main", {"ranges=[1,2"}), HasSubstr("it ends too early"));
  EXPECT_THAT(message_of("main", {"model.name=a#b"}), HasSubstr("character 13 (#) needs quotes"));
  EXPECT_THAT(message_of("main", {"ranges=1,2"}), HasSubstr("write a list, key=[a,b]"));
  EXPECT_THAT(message_of("main", {"model.seq_length=9223372036854775808"}), HasSubstr("too large"));
  EXPECT_THAT(message_of("main", {"model.seq_length=itn(3)"}), HasSubstr("did you mean int?"));
  EXPECT_THAT(message_of("main", {"ranges=" + std::string(1000, '[')}), HasSubstr("nested too deeply"));
}

TEST(Configurations, ThatAreNotThereAreNamedWithThoseThatAre) {
  EXPECT_THAT(message_of("mian", {}), AllOf(HasSubstr("did you mean main?"), HasSubstr("base, main, nested, plain")));
  EXPECT_THAT(message_of("main", {"device=lagre"}),
              AllOf(HasSubstr("there is no device 'lagre'; did you mean large?")));
}

TEST(Configurations, AreFoundByPathWithTheirOwnFolderFirst) {
  TemporaryDirectory folder;
  write_file(folder / "main.yaml", "defaults: [base]\nmodel: {name: mine}\n");
  const Configuration found = compose({kData / "configs"}, (folder / "main.yaml").string(), {});
  EXPECT_EQ(found.tree["model"]["name"], "mine");
  EXPECT_EQ(found.tree["model"]["vocab_size"], 1000);
  EXPECT_EQ(found.files.size(), 2U);
}

TEST(Yaml, ThatIsDamagedIsRefusedWithItsLine) {
  const auto message = [](const std::string& text) -> std::string {
    try {
      parse_yaml(text, "x.yaml");
    } catch (const UsageError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message("a: 1\nb: [1, 2\n"), HasSubstr("x.yaml: line"));
  EXPECT_THAT(message("a: 1\na: 2\n"), HasSubstr("x.yaml: line 2: the key a is there twice"));
  EXPECT_THAT(message("a: 99999999999999999999\n"), HasSubstr("does not fit in 64 bits"));
  EXPECT_THAT(message("a: 1\n---\nb: 2\n"), HasSubstr("several documents"));
  // yaml-cpp would read documents without an end here.
  EXPECT_THAT(message("# a\n, b: c, d\ne:\n  - f\n"), HasSubstr("x.yaml"));
  EXPECT_THAT(message("[1, 2]: 3\n"), HasSubstr("a key must be text"));
  EXPECT_THAT(message("a: &b [*b]\n"), HasSubstr("x.yaml: line 1"));
  EXPECT_THAT(message("a: *b\n"), HasSubstr("x.yaml: line 1"));
  EXPECT_THAT(message(std::string(100, '[')), HasSubstr("x.yaml"));
}

TEST(Yaml, KeepsScalarsAsTheyAreWritten) {
  const Json tree = parse_yaml("a: [1e-3, 0x10, 'off', off, 10min, true]\nb: ~\nc:\nd: 99999999999999999999\n",
                               "x.yaml", Scalars::as_written);
  EXPECT_EQ(tree, Json({{"a", {"1e-3", "0x10", "off", "off", "10min", "true"}},
                        {"b", nullptr},
                        {"c", nullptr},
                        {"d", "99999999999999999999"}}));
}

TEST(Yaml, ThatRepeatsItselfByAliasesIsRefused) {
  std::string text = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1]\n";
  for (int level = 1; level < 12; ++level) {
    const std::string before = "*a" + std::to_string(level - 1);
    text += "a" + std::to_string(level) + ": &a" + std::to_string(level) + " [" + before;
    for (int times = 0; times < 7; ++times) text += ", " + before;
    text += "]\n";
  }
  EXPECT_THROW(parse_yaml(text, "x.yaml"), UsageError);
}

TEST(Interpolations, ThatLeadNowhereAreRefused) {
  EXPECT_THAT(message_of("main", {"model.name=${model.seq_lenght}"}), HasSubstr("did you mean model.seq_length?"));
  EXPECT_THAT(message_of("main", {"model.name=${model.name}"}), HasSubstr("leads back to itself"));
  EXPECT_THAT(message_of("main", {"model.name=${oc.env:HOME}"}), HasSubstr("resolvers are not supported"));
}

}  // namespace
}  // namespace lshdp::explore::test
