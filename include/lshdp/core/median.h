// The median.
#pragma once
#include <vector>

namespace lshdp {

/// The middle one of the sorted values, the mean of the two middle ones of an even number; 0 of none.
double median(std::vector<double> values);

}  // namespace lshdp
