// Tokens of texts, for scripts/compare_tokenizers.py: tokenize_lines TOKENIZER.json, or ENCODER.json VOCAB.bpe.
#include <cstdio>
#include <exception>
#include <iostream>
#include <string>

#include "lshdp/core/json.h"
#include "lshdp/data/tokenizer.h"

namespace lshdp::data {
namespace {

/// Each line of the input is a text as JSON has it; prints its tokens without and with special ones, and what the first
/// are as text.
void tokenize(const Tokenizer& tokenizer) {
  for (std::string line; std::getline(std::cin, line);) {
    const std::string text = parse_json(line, "input");
    const auto tokens = tokenizer.encode(text);
    const std::string back = tokenizer.decode(std::vector<std::int64_t>(tokens.begin(), tokens.end()));
    std::cout << json_text({{"ids", tokens}, {"special_ids", tokenizer.encode_special(text)}, {"text", back}}) << '\n';
  }
}

}  // namespace
}  // namespace lshdp::data

int main(int argc, char** argv) try {
  if (argc != 2 && argc != 3) {
    std::fprintf(stderr, "usage: tokenize_lines TOKENIZER.json | ENCODER.json VOCAB.bpe\n");
    return 2;
  }
  using namespace lshdp::data;
  tokenize(*(argc == 2 ? make_tokenizer(argv[1]) : make_gpt2_tokenizer(argv[1], argv[2])));
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "tokenize_lines: %s\n", error.what());
  return 1;
}
