// HDF5 files of any content, made by the library itself from a description: its own parser is not what is looked at.
#pragma once
#include <filesystem>

#include "lshdp/core/json.h"

namespace lshdp::test {

/// Writes what a list says, in its order:
///   {"group": "g"}
///   {"array": "g/a", "type": "u8", "shape": [2, 3], "value": 1, "written": true}; without "written" it only claims its
///   size
///   {"attribute": "mean", "of": "/", "type": "f64", "shape": [1], "value": 0.5}
/// Types are u8, u16, i32, i64, f32, f64 and text, whose value is text. Throws UsageError where no file can be so.
void write_hdf5(const Json& content, const std::filesystem::path& path);

}  // namespace lshdp::test
