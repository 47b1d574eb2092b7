// A tokenizer's split of text into words, within which bytes are merged.
#pragma once
#define PCRE2_CODE_UNIT_WIDTH 8
#include <memory>
#include <string>
#include <string_view>

#include <pcre2.h>

namespace lshdp::data {

/// Splits as `tokenizers` and `tiktoken` do. One thread at a time.
class WordSplitter {
 public:
  /// By a pattern as pcre2_pattern() takes it. Throws UsageError naming `source` if it cannot be used.
  WordSplitter(std::string_view pattern, const std::string& source);

  /// Calls f(piece) for pieces that together are `text`; what no word can hold (bytes that are not UTF-8) is a piece as
  /// well.
  template <typename F>
  void for_each_word(std::string_view text, F f) const {
    for (std::size_t done = 0; done < text.size();) {
      const Match word = find(text, done);
      if (word.begin > done) f(text.substr(done, word.begin - done));
      if (word.end > word.begin) f(text.substr(word.begin, word.end - word.begin));
      done = word.end;
    }
  }

 private:
  struct Match {
    std::size_t begin, end;  // both text.size() if there is none
  };
  Match find(std::string_view text, std::size_t from) const;

  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
    void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
  };
  std::unique_ptr<pcre2_code, Free> code_;
  std::unique_ptr<pcre2_match_data, Free> match_;
};

}  // namespace lshdp::data
