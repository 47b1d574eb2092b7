// Formats that weights come in elsewhere, known by how their files begin.
#pragma once
#include <string>
#include <string_view>

namespace lshdp::model {

/// Throws UsageError if a file that begins with `head`, its first kHeadBytes, is a list of shards or of another format
/// that is known, with what to give in its place.
void refuse_other_formats(std::string_view head, const std::string& source);

}  // namespace lshdp::model
