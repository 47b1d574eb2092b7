// Descriptions turned into calls of HDF5.
#include "hdf5_content.h"

#include <cstdint>
#include <string>
#include <vector>

#include <H5Cpp.h>

#include "lshdp/core/error.h"

namespace lshdp::test {
namespace {

constexpr hsize_t kMostWritten = 1 << 12;  // elements

struct Values {
  H5::DataType type;
  std::vector<hsize_t> shape;
  double number = 0;
  std::string text = {};

  H5::DataSpace space() const {
    return shape.empty() ? H5::DataSpace(H5S_SCALAR) : H5::DataSpace(static_cast<int>(shape.size()), shape.data());
  }
  /// Throws UsageError: too many to be written.
  std::size_t count() const {
    hsize_t elements = 1;
    for (const hsize_t length : shape) {
      if (length > kMostWritten) throw UsageError("too many values");
      elements *= length;
      if (elements > kMostWritten) throw UsageError("too many values");
    }
    return elements;
  }
};

H5::DataType type_named(const std::string& name, const std::string& text) {
  if (name == "u8") return H5::PredType::STD_U8LE;
  if (name == "u16") return H5::PredType::STD_U16LE;
  if (name == "i32") return H5::PredType::STD_I32LE;
  if (name == "i64") return H5::PredType::STD_I64LE;
  if (name == "f32") return H5::PredType::IEEE_F32LE;
  if (name == "f64") return H5::PredType::IEEE_F64LE;
  if (name == "text") return text.empty() ? H5::StrType(0, H5T_VARIABLE) : H5::StrType(0, text.size());
  throw UsageError("no type: " + name);
}

Values values_of(const Json& entry) {
  Values values;
  if (entry.contains("value") && entry["value"].is_number()) values.number = entry["value"];
  if (entry.contains("value") && entry["value"].is_string()) values.text = entry["value"];
  values.type = type_named(json_value<std::string>(entry, "type", "F"), values.text);
  if (entry.contains("shape")) {
    for (const std::uint64_t length : json_value<std::vector<std::uint64_t>>(entry, "shape", "F"))
      values.shape.push_back(length);
  }
  if (values.shape.size() > H5S_MAX_RANK) throw UsageError("too many dimensions");
  return values;
}

/// Calls write(memory, type) with all values in memory.
template <typename Write>
void write_values(const Values& values, Write write) {
  if (values.type.getClass() != H5T_STRING) {
    const std::vector<double> numbers(values.count(), values.number);
    write(numbers.data(), H5::PredType::NATIVE_DOUBLE);
  } else if (values.text.empty()) {
    const std::vector<const char*> texts(values.count(), "variable");
    write(texts.data(), values.type);
  } else {
    std::string texts;
    for (std::size_t i = 0; i < values.count(); ++i) texts += values.text;
    write(texts.data(), values.type);
  }
}

void add_array(H5::H5File& file, const std::string& name, const Json& entry) {
  const Values values = values_of(entry);
  const bool written = entry.contains("written") && entry["written"] == true;
  H5::DSetCreatPropList layout;
  if (!written) {
    const std::vector<hsize_t> chunk(values.shape.size(), 1);
    layout.setChunk(static_cast<int>(chunk.size()), chunk.data());
  } else {
    values.count();
  }
  const H5::DataSet array = file.createDataSet(name, values.type, values.space(), layout);
  if (written) write_values(values, [&](const void* from, const H5::DataType& type) { array.write(from, type); });
}

void add_attribute(H5::H5File& file, const std::string& name, const Json& entry) {
  const Values values = values_of(entry);
  values.count();
  const H5::Group group = file.openGroup(json_value<std::string>(entry, "of", "F"));
  const H5::Attribute attribute = group.createAttribute(name, values.type, values.space());
  write_values(values, [&](const void* from, const H5::DataType& type) { attribute.write(type, from); });
}

}  // namespace

void write_hdf5(const Json& content, const std::filesystem::path& path) {
  if (!content.is_array()) throw UsageError("no list");
  H5::Exception::dontPrint();
  try {
    H5::H5File file(path.string(), H5F_ACC_TRUNC);
    for (const Json& entry : content) {
      if (!entry.is_object()) throw UsageError("no object");
      if (entry.contains("group")) file.createGroup(json_value<std::string>(entry, "group", "F"));
      if (entry.contains("array")) add_array(file, json_value<std::string>(entry, "array", "F"), entry);
      if (entry.contains("attribute")) add_attribute(file, json_value<std::string>(entry, "attribute", "F"), entry);
    }
  } catch (const H5::Exception& error) {
    throw UsageError("no such file can be: " + error.getDetailMsg());
  }
}

}  // namespace lshdp::test
