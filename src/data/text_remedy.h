// What to do with a file that was given for text or tokens and is neither.
#pragma once
#include <string_view>

#include "lshdp/core/file_kind.h"

namespace lshdp::data {

/// "unpack it first" and the like; never empty for a format that is known.
std::string_view text_remedy(const FileFormat& format);

}  // namespace lshdp::data
