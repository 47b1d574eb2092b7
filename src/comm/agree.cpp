// Text, values and errors gathered from all ranks.
#include "lshdp/comm/agree.h"

#include <algorithm>
#include <cstdint>
#include <exception>
#include <optional>

#include <fmt/format.h>

#include "lshdp/comm/hosts.h"
#include "lshdp/core/error.h"
#include "lshdp/core/host.h"

namespace lshdp::comm {
namespace {

/// Every rank's `value`, by rank.
template <typename T>
std::vector<T> gather_value(Communicator& communicator, T value) {
  const int size = communicator.size();
  std::vector<T> values(static_cast<std::size_t>(size));
  values[static_cast<std::size_t>(communicator.rank())] = value;
  Shards shards{{0}};
  for (int rank = 1; rank <= size; ++rank) shards.bounds.push_back(static_cast<std::int64_t>(sizeof(T)) * rank);
  communicator.all_gather({values.data(), shards.bounds.back(), DataType::byte}, shards).wait();
  return values;
}

/// How work ended on one rank, and its form as text: three lines, of which the last may hold more.
struct Failure {
  int exit_code = 1;
  std::string host;
  std::string message;
};

std::string to_text(const Failure& failure) {
  return fmt::format("{}\n{}\n{}", failure.exit_code, failure.host, failure.message);
}

Failure parse_failure(const std::string& text) {
  const std::size_t first = text.find('\n'), second = text.find('\n', first + 1);
  return {std::stoi(text.substr(0, first)), text.substr(first + 1, second - first - 1), text.substr(second + 1)};
}

/// What `work` threw, if anything.
std::optional<Failure> failure_of(const std::function<void()>& work) {
  try {
    work();
    return std::nullopt;
  } catch (const Error& error) {
    return Failure{error.exit_code(), host_name(), error.what()};
  } catch (const std::exception& error) {
    return Failure{1, host_name(), explain(error)};
  } catch (...) {
    return Failure{1, host_name(), "an error that lshdp has no words for; please report the command"};
  }
}

}  // namespace

std::vector<std::string> all_gather_text(Communicator& communicator, const std::string& text) {
  const auto lengths = gather_value(communicator, static_cast<std::int64_t>(text.size()));
  Shards shards{{0}};
  for (const std::int64_t length : lengths) shards.bounds.push_back(shards.bounds.back() + length);
  std::string all(static_cast<std::size_t>(shards.bounds.back()), '\0');
  std::copy(text.begin(), text.end(), all.begin() + shards.begin(communicator.rank()));
  if (!all.empty()) communicator.all_gather({all.data(), shards.bounds.back(), DataType::byte}, shards).wait();
  std::vector<std::string> texts;
  for (int rank = 0; rank < communicator.size(); ++rank)
    texts.push_back(
        all.substr(static_cast<std::size_t>(shards.begin(rank)), static_cast<std::size_t>(shards.count(rank))));
  return texts;
}

std::string broadcast_text(Communicator& communicator, const std::string& text, int root) {
  const bool mine = communicator.rank() == root;
  std::int64_t length = mine ? static_cast<std::int64_t>(text.size()) : 0;
  communicator.broadcast({&length, sizeof(length), DataType::byte}, root).wait();
  std::string result = mine ? text : std::string(static_cast<std::size_t>(length), '\0');
  if (length > 0) communicator.broadcast({result.data(), length, DataType::byte}, root).wait();
  return result;
}

std::vector<double> all_gather_values(Communicator& communicator, double value) {
  return gather_value(communicator, value);
}

std::vector<std::string> all_gather_hosts(Communicator& communicator) { return gather_hosts(communicator).nodes; }

void agree(Communicator& communicator, const std::function<void()>& check) {
  const auto failure = failure_of(check);
  const auto texts = all_gather_text(communicator, failure ? to_text(*failure) : "");
  const auto failed = [](const std::string& text) { return !text.empty(); };
  const auto first = std::find_if(texts.begin(), texts.end(), failed);
  if (first == texts.end()) return;
  const Failure lowest = parse_failure(*first);
  const bool alike = std::all_of(texts.begin(), texts.end(), [&](const std::string& text) {
    return failed(text) && parse_failure(text).message == lowest.message;
  });
  if (alike) throw AgreedError(lowest.message, lowest.exit_code);
  throw AgreedError(fmt::format("rank {} ({}): {}", first - texts.begin(), lowest.host, lowest.message),
                    lowest.exit_code);
}

std::string on_rank_0(Communicator& communicator, const std::function<std::string()>& work) {
  std::string outcome;
  if (communicator.rank() == 0) {
    std::string result;
    const auto failure = failure_of([&] { result = work(); });
    outcome = failure ? "-" + to_text(*failure) : "+" + result;
  }
  outcome = broadcast_text(communicator, outcome);
  // A null communicator gives other ranks than 0 nothing.
  if (outcome.empty()) return outcome;
  if (outcome.front() == '+') return outcome.substr(1);
  const Failure failure = parse_failure(outcome.substr(1));
  throw AgreedError(failure.message, failure.exit_code);
}

}  // namespace lshdp::comm
