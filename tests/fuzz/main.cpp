// main() of the tests of readers: Fuzz.NAME for each.
#include <gtest/gtest.h>

#include "driver.h"

namespace lshdp::test {
namespace {

class Fuzz : public testing::Test {
 public:
  explicit Fuzz(Reader reader) : reader_(std::move(reader)) {}
  void TestBody() override { fuzz(reader_, corpus_of(LSHDP_FUZZ_CORPUS, reader_)); }

 private:
  Reader reader_;
};

}  // namespace
}  // namespace lshdp::test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (const lshdp::test::Reader& reader : lshdp::test::readers())
    testing::RegisterTest("Fuzz", reader.name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                          [reader]() -> testing::Test* { return new lshdp::test::Fuzz(reader); });
  return RUN_ALL_TESTS();
}
