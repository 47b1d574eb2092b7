// Groups of ranks from a layout.
#include "lshdp/parallel/placement.h"

#include <algorithm>

#include "lshdp/comm/null_communicator.h"

namespace lshdp::parallel {
namespace {

/// By group, the ranks that are in it.
using Members = std::vector<std::vector<int>>;

Members find_groups(const plan::Layout& layout, std::vector<int>& groups, std::vector<int>& first_holders) {
  Members members;
  for (std::size_t block = 0; block < layout.blocks; ++block) {
    const std::vector<int> holders = plan::holders_of(layout, block);
    auto known = std::ranges::find(members, holders);
    if (known == members.end()) known = members.insert(members.end(), holders);
    groups.push_back(static_cast<int>(known - members.begin()));
    first_holders.push_back(holders.front());
  }
  return members;
}

}  // namespace

plan::LayoutNeeds layout_needs(const model::Model& model) {
  plan::LayoutNeeds needs{.model = model.name, .blocks = model.blocks.size()};
  for (std::size_t block = 0; block < model.blocks.size(); ++block) {
    for (const std::string& name : model.blocks[block]->borrowed())
      needs.shared_parameters.emplace_back(model.owner_of(name).block, block);
  }
  return needs;
}

Placement::Placement(const plan::Layout& layout, comm::Communicator& world) {
  for (const std::vector<int>& members : find_groups(layout, groups_, first_holders_)) {
    std::unique_ptr<comm::Communicator>& mine = communicators_.emplace_back();
    if (std::ranges::find(members, world.rank()) == members.end()) continue;
    mine = members.size() == 1 ? comm::make_null_communicator(0, 1) : world.subgroup(members);
  }
}

comm::Communicator* Placement::group_of(std::size_t block) const {
  return communicators_[static_cast<std::size_t>(groups_[block])].get();
}

model::BlockValues values_of_held_blocks(const model::Model& model, const Placement* placement,
                                         model::BlockValues values) {
  if (placement == nullptr) return values;
  return [&model, placement, values = std::move(values)](std::size_t block) {
    return placement->holds(block) ? values(block) : std::vector<at::Tensor>(model.blocks[block]->parameters().size());
  };
}

}  // namespace lshdp::parallel
