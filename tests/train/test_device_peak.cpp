// Peaks of devices by their names, as configs/explore/device has them.
#include <gtest/gtest.h>

#include "device_peak.h"
#include "lshdp/core/file.h"
#include "lshdp/core/text.h"

namespace lshdp::train {
namespace {

using plan::Precision;

/// "float16_tflops: 989" of a device's file.
double figure(const std::string& device, const std::string& key) {
  const std::string text = read_file(std::string(LSHDP_DEVICES) + "/" + device + ".yaml");
  const std::size_t at = text.find("\n" + key + ": ") + key.size() + 3;
  return parse_double(text.substr(at, text.find('\n', at) - at), device) * 1e12;
}

TEST(DevicePeak, IsThatOfTheDeviceWhoeverNamesIt) {
  const std::pair<const char*, const char*> names[] = {{"NVIDIA H100 80GB HBM3", "h100-80gb"},
                                                       {"NVIDIA H100 PCIe", "h100-pcie-80gb"},
                                                       {"NVIDIA H200", "h200-141gb"},
                                                       {"NVIDIA A100-SXM4-80GB", "a100-80gb"},
                                                       {"NVIDIA A100-PCIE-40GB", "a100-40gb"},
                                                       {"NVIDIA A10", "a10-24gb"},
                                                       {"NVIDIA L40S", "l40s-48gb"},
                                                       {"NVIDIA L4", "l4-24gb"},
                                                       {"NVIDIA GeForce RTX 4090", "rtx4090-24gb"},
                                                       {"NVIDIA GeForce RTX 3090", "rtx3090-24gb"},
                                                       {"Tesla T4", "t4-16gb"},
                                                       {"Tesla V100-SXM2-32GB", "v100-32gb"}};
  for (const auto& [name, device] : names) {
    EXPECT_DOUBLE_EQ(device_peak(name, Precision::fp16), figure(device, "float16_tflops")) << name;
    EXPECT_DOUBLE_EQ(device_peak(name, Precision::fp32), figure(device, "float32_tflops")) << name;
  }
}

TEST(DevicePeak, IsNotGuessed) {
  for (const char* name : {"cpu", "NVIDIA A10G", "NVIDIA H100 NVL", "NVIDIA GeForce RTX 3090 Ti",
                           "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", "Quadro P4000"})
    EXPECT_EQ(device_peak(name, Precision::fp16), 0) << name;
  EXPECT_EQ(device_peak("Tesla T4", Precision::bf16), 0);
  EXPECT_EQ(device_peak("NVIDIA H200", Precision::fp64), 0);
  EXPECT_EQ(device_peak("NVIDIA H200", Precision::bf16), device_peak("NVIDIA H200", Precision::fp16));
}

}  // namespace
}  // namespace lshdp::train
