// Changes of a configuration as Hydra's command line writes them: key=value, +key=value, ++key=value, ~key.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lshdp/core/json.h"

namespace lshdp::explore {

struct Override {
  enum class Kind : std::uint8_t {
    change,     // key=value: the key must be there
    add,        // +key=value: it must not be there
    force_add,  // ++key=value: either
    remove      // ~key, ~key=value: it must be there, with this value
  };
  Kind kind = Kind::change;
  std::string key = {};            // "model.seq_length", or a group of configurations
  std::string package = {};        // of group@package; otherwise empty
  std::optional<Json> value = {};  // none: ~key
  std::string text = {};           // as it was written
};

/// One override in Hydra 1.3's grammar (hydra.cc, "Extended override syntax"): numbers, true, false, null, words,
/// quoted text, lists [a,b], dictionaries {a:1}, and the casts int(), float(), str(), bool(). Throws UsageError naming
/// the override and the character that does not fit. Sweeps (a,b and choice(), range(), interval(), glob()) are
/// refused: this program searches ranges by itself.
Override parse_override(std::string_view text);

/// Applies an override to a tree whose keys are those that there may be. Throws UsageError as Hydra refuses it, with
/// the nearest key.
void apply(const Override& override, Json& tree);

}  // namespace lshdp::explore
