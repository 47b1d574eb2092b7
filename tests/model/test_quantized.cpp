// Quantised weights equal bitsandbytes', code by code and value by value (scripts/make_quantized_references.py).
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "../../src/model/quantized_loops.h"
#include "lshdp/core/error.h"
#include "lshdp/model/quantized.h"
#include "lshdp/model/safetensors.h"

namespace lshdp::model {
namespace {

constexpr BasePrecision kAll[] = {BasePrecision::full, BasePrecision::int8, BasePrecision::nf4,
                                  BasePrecision::nf4_double};

const NamedTensors& reference() {
  static const NamedTensors tensors = read_safetensors(LSHDP_TEST_DATA "/quantized.reference.safetensors");
  return tensors;
}

at::Tensor values_of(const QuantizedTensor& weight, at::ScalarType type) {
  at::Tensor out = at::empty(weight.shape, at::TensorOptions(type));
  dequantize_into(weight, out);
  return out;
}

/// Types and all values, NaN aside; names the first that differs.
void expect_same(const at::Tensor& actual, const at::Tensor& expected, const std::string& what) {
  ASSERT_EQ(actual.scalar_type(), expected.scalar_type()) << what;
  ASSERT_EQ(actual.sizes(), expected.sizes()) << what;
  if (actual.equal(expected)) return;
  const at::Tensor places = actual.ne(expected).flatten().nonzero().flatten();
  const std::int64_t place = places[0].item<std::int64_t>();
  ADD_FAILURE() << what << ": " << places.numel() << " of " << actual.numel() << " differ, the first at " << place
                << ": " << actual.flatten()[place].item<double>() << ", not "
                << expected.flatten()[place].item<double>();
}

class QuantizedCase : public testing::TestWithParam<const char*> {
 protected:
  const at::Tensor& of(const std::string& name) const { return reference().at(std::string(GetParam()) + "." + name); }
  /// Compared with what the reference holds of it in `type`, if it does.
  void expect_values(const QuantizedTensor& weight, const std::string& name, at::ScalarType type) const {
    const auto found = reference().find(std::string(GetParam()) + "." + name);
    if (found != reference().end()) expect_same(values_of(weight, type), found->second, name);
  }
};

TEST_P(QuantizedCase, Nf4HasTheCodesScalesAndValuesOfBitsandbytes) {
  const QuantizedTensor weight = quantize(of("weight"), BasePrecision::nf4);
  expect_same(weight.codes, of("nf4.codes"), "codes");
  expect_same(weight.scales, of("nf4.scales"), "scales");
  expect_values(weight, "nf4.fp32", at::kFloat);
  expect_values(weight, "nf4.bf16", at::kBFloat16);
  expect_values(weight, "nf4.fp16", at::kHalf);
}

TEST_P(QuantizedCase, Int8HasTheCodesScalesAndValuesOfBitsandbytes) {
  const QuantizedTensor weight = quantize(of("weight"), BasePrecision::int8);
  expect_same(weight.codes, of("int8.codes"), "codes");
  expect_same(weight.scales, of("int8.scales"), "scales");
  expect_values(weight, "int8.fp32", at::kFloat);
}

TEST_P(QuantizedCase, OperationsOfOtherDevicesGiveTheSameValues) {
  for (const BasePrecision precision : {BasePrecision::int8, BasePrecision::nf4, BasePrecision::nf4_double}) {
    const QuantizedTensor weight = quantize(of("weight"), precision);
    expect_same(dequantized_by_operations(weight), values_of(weight, at::kFloat), to_text(precision));
  }
}

TEST_P(QuantizedCase, NarrowerTypesAreTheRoundedValuesAndDoubleIsExact) {
  for (const BasePrecision precision : kAll) {
    const QuantizedTensor weight = quantize(of("weight"), precision);
    const at::Tensor values = values_of(weight, at::kFloat);
    for (const at::ScalarType type : {at::kBFloat16, at::kHalf, at::kDouble}) {
      expect_same(values_of(weight, type), values.to(type), to_text(precision));
    }
  }
}

TEST_P(QuantizedCase, BytesAreThoseOfTheTensors) {
  for (const BasePrecision precision : kAll) {
    const QuantizedTensor weight = quantize(of("weight"), precision);
    std::size_t bytes = 0;
    for (const at::Tensor& part :
         {weight.codes, weight.scales, weight.levels, weight.scale_codes, weight.scale_levels}) {
      if (part.defined()) bytes += part.nbytes();
    }
    EXPECT_EQ(quantized_bytes(weight.shape, precision), static_cast<std::int64_t>(bytes)) << to_text(precision);
  }
}

INSTANTIATE_TEST_SUITE_P(Weights, QuantizedCase,
                         testing::Values("matrix", "odd", "conv", "vector", "many_blocks", "special"),
                         [](const auto& made) { return std::string(made.param); });

class DoublyQuantizedCase : public QuantizedCase {};

TEST_P(DoublyQuantizedCase, ScalesHaveTheCodesScalesMeanAndValuesOfBitsandbytes) {
  const QuantizedTensor weight = quantize(of("weight"), BasePrecision::nf4_double);
  expect_same(weight.codes, of("nf4.codes"), "codes");
  expect_same(weight.scale_codes, of("double.codes"), "codes of the scales");
  expect_same(weight.scales, of("double.scales"), "scales of the scales");
  EXPECT_EQ(weight.mean_scale, of("double.mean").item<float>());
  expect_values(weight, "double.fp32", at::kFloat);
  expect_values(weight, "double.bf16", at::kBFloat16);
}

INSTANTIATE_TEST_SUITE_P(Weights, DoublyQuantizedCase, testing::Values("matrix", "many_blocks"),
                         [](const auto& made) { return std::string(made.param); });

TEST(Quantized, ScalesHaveTheLevelsOfBitsandbytes) {
  const std::array<float, 256> levels = dynamic_levels();
  expect_same(at::tensor(at::ArrayRef<float>(levels)), reference().at("dynamic_levels"), "levels");
}

TEST(Quantized, EachValueIsWithinHalfAStepOfItsBlock) {
  const at::Tensor weight = at::linspace(-1, 1, 4096).view({64, 64});
  // The widest gap between two levels of NF4 is 0.304 of the scale, between two of int8 1/127.
  const at::Tensor largest = weight.abs().amax(1, true);
  const auto error = [&](BasePrecision precision) {
    return ((values_of(quantize(weight, precision), at::kFloat) - weight).abs() / largest).max().item<float>();
  };
  EXPECT_LE(error(BasePrecision::nf4), 0.1521F);
  EXPECT_LE(error(BasePrecision::int8), 0.5001F / 127);
  EXPECT_EQ(error(BasePrecision::full), 0);
}

TEST(Quantized, ZerosStayZeros) {
  const at::Tensor zeros = at::zeros({3, 65});
  for (const BasePrecision precision : kAll) {
    expect_same(values_of(quantize(zeros, precision), at::kFloat), zeros, to_text(precision));
  }
}

TEST(Quantized, ValuesNextToTheSmallestFloatsStayFinite) {
  for (const double scale : {1e-44, 1e-39, 1e-37, 1e-35}) {
    const at::Tensor weight = at::linspace(-1, 1, 130).mul(scale).view({2, 65});
    for (const BasePrecision precision : kAll) {
      const at::Tensor values = values_of(quantize(weight, precision), at::kFloat);
      EXPECT_LE((values - weight).abs().max().item<double>(), std::max(scale, 1e-36)) << to_text(precision) << scale;
    }
  }
}

TEST(Quantized, OneBlockHasTheMeanAsItsScale) {
  const at::Tensor weight = at::linspace(-0.5, 0.25, 64);
  const QuantizedTensor plain = quantize(weight, BasePrecision::nf4);
  const QuantizedTensor doubly = quantize(weight, BasePrecision::nf4_double);
  EXPECT_EQ(doubly.mean_scale, 0.5F);
  expect_same(values_of(doubly, at::kFloat), values_of(plain, at::kFloat), "values");
}

TEST(Quantized, WeightsOfAnyTypeAndStrideAreQuantizedByTheirValues) {
  const at::Tensor weight = reference().at("matrix.weight");  // bf16
  for (const BasePrecision precision : kAll) {
    const at::Tensor expected = values_of(quantize(weight, precision), at::kFloat);
    for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
      expect_same(values_of(quantize(weight.to(type).t().contiguous().t(), precision), at::kFloat), expected,
                  to_text(precision));
    }
  }
}

TEST(Quantized, ManyThreadsGiveTheSameValues) {
  const at::Tensor weight = at::randn({700, 333}, at::detail::createCPUGenerator(5), at::kFloat);
  const int threads = at::get_num_threads();
  for (const BasePrecision precision : kAll) {
    at::set_num_threads(1);
    const at::Tensor expected = values_of(quantize(weight, precision), at::kFloat);
    at::set_num_threads(4);
    expect_same(values_of(quantize(weight, precision), at::kFloat), expected, to_text(precision));
  }
  at::set_num_threads(threads);
}

template <class To>
void expect_same_without_avx2(at::ScalarType type) {
  const at::Tensor weight = at::randn({7, 333}, at::detail::createCPUGenerator(6), at::kFloat);
  const at::Tensor out = at::empty(weight.sizes(), type);
  const QuantizedTensor blocks = quantize(weight, BasePrecision::nf4), rows = quantize(weight, BasePrecision::int8);
  dequantize_nf4(blocks.codes.const_data_ptr<std::uint8_t>(), blocks.scales.const_data_ptr<float>(), weight.numel(),
                 static_cast<To*>(out.data_ptr()), false);
  expect_same(out, values_of(blocks, type), "nf4");
  dequantize_rows(rows.codes.const_data_ptr<std::int8_t>(), rows.scales.const_data_ptr<float>(), 7, 333,
                  static_cast<To*>(out.data_ptr()), false);
  expect_same(out, values_of(rows, type), "int8");
}

TEST(Quantized, ProcessorsWithoutAvx2GiveTheSameValues) {
  expect_same_without_avx2<float>(at::kFloat);
  expect_same_without_avx2<double>(at::kDouble);
  expect_same_without_avx2<Bf16>(at::kBFloat16);
  expect_same_without_avx2<Fp16>(at::kHalf);
}

TEST(Quantized, ProcessorsWithoutAvx2GiveTheSameCodes) {
  const at::Tensor weight = at::randn({7, 333}, at::detail::createCPUGenerator(7), at::kFloat);
  const QuantizedTensor expected = quantize(weight, BasePrecision::nf4);
  const at::Tensor codes = at::zeros_like(expected.codes), scales = at::zeros_like(expected.scales);
  quantize_nf4(weight.const_data_ptr<float>(), weight.numel(), codes.data_ptr<std::uint8_t>(), scales.data_ptr<float>(),
               false);
  expect_same(codes, expected.codes, "codes");
  expect_same(scales, expected.scales, "scales");
}

TEST(Quantized, HalfAByteAndAnEighthAreWhatAWeightTakes) {
  const std::vector<std::int64_t> shape{4096, 4096};
  const double values = 4096.0 * 4096.0;
  const auto bits = [&](BasePrecision precision) {
    return 8 * static_cast<double>(quantized_bytes(shape, precision)) / values;
  };
  EXPECT_EQ(bits(BasePrecision::full), 32);
  EXPECT_NEAR(bits(BasePrecision::int8), 8 + 32.0 / 4096, 1e-9);
  EXPECT_NEAR(bits(BasePrecision::nf4), 4.5, 1e-3);
  EXPECT_NEAR(bits(BasePrecision::nf4_double), 4.127, 1e-3);
}

TEST(Quantized, NamesAreReadBackAndOthersAreRefused) {
  for (const BasePrecision precision : kAll) EXPECT_EQ(base_precision_from_text(to_text(precision)), precision);
  EXPECT_THROW(base_precision_from_text("int4"), UsageError);
}

TEST(Quantized, WhatIsNotFiniteOrFloatingIsRefused) {
  at::Tensor weight = at::zeros({64});
  weight[3] = std::numeric_limits<float>::infinity();
  for (const BasePrecision precision : kAll) {
    EXPECT_THROW(quantize(weight, precision), std::invalid_argument);
    EXPECT_THROW(quantize(at::zeros({64}, at::kLong), precision), std::invalid_argument);
  }
}

TEST(Quantized, OutputsOfAnotherShapeStrideOrTypeAreRefused) {
  const QuantizedTensor weight = quantize(at::zeros({8, 16}), BasePrecision::nf4);
  EXPECT_THROW(dequantize_into(weight, at::empty({16, 8})), std::invalid_argument);
  EXPECT_THROW(dequantize_into(weight, at::empty({16, 8}).t()), std::invalid_argument);
  EXPECT_THROW(dequantize_into(weight, at::empty({8, 16}, at::kLong)), std::invalid_argument);
}

}  // namespace
}  // namespace lshdp::model
