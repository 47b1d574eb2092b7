// A layout as a picture: hosts, stages, what crosses the links between them; as text that Graphviz and Mermaid draw.
#pragma once
#include <string>

#include "lshdp/plan/layout.h"
#include "lshdp/plan/profile.h"

namespace lshdp::plan {

/// `profile` may be null. With it, stages stand in boxes of their hosts, links say how many bytes cross them in a step,
/// and ranks without a stage are drawn, too.
std::string dot_diagram(const Layout& layout, const Profile* profile = nullptr);
std::string mermaid_diagram(const Layout& layout, const Profile* profile = nullptr);

/// Throws UsageError, beginning with `source`, the profile's: another model, another number of blocks, too few ranks.
void require_of_layout(const Profile& profile, const Layout& layout, const std::string& source);

}  // namespace lshdp::plan
