// By what the format is.
#include "text_remedy.h"

namespace lshdp::data {

std::string_view text_remedy(const FileFormat& format) {
  if (!format.remedy.empty()) return format.remedy;
  switch (format.id) {
    case FileFormat::Id::hdf5:
      return "a data set that lshdp data wrote needs no conversion; see lshdp data info";
    case FileFormat::Id::numpy:
      return "lshdp data tokens reads it";
    case FileFormat::Id::megatron_index:
      return "give its .bin file to lshdp data tokens";
    default:
      return format.sort == FileFormat::Sort::document ? "write its text or tokens to a plain file first"
                                                       : "it holds no text";
  }
}

}  // namespace lshdp::data
