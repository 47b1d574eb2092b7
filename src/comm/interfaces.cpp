// getifaddrs(3), and networks as numbers.
#include "lshdp/comm/interfaces.h"

#include <algorithm>
#include <bit>
#include <memory>
#include <sstream>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

namespace lshdp::comm {
namespace {

std::uint32_t number_of(const sockaddr* address) {
  return ntohl(reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr);
}

std::string dotted(std::uint32_t address) {
  return fmt::format("{}.{}.{}.{}", address >> 24, (address >> 16) & 255, (address >> 8) & 255, address & 255);
}

std::uint32_t network(const Interface& interface) {
  return interface.prefix == 0 ? 0 : interface.address & (~std::uint32_t{0} << (32 - interface.prefix));
}

bool parse_interface(const std::string& word, Interface& interface) {
  const std::size_t equals = word.rfind('='), slash = word.rfind('/');
  if (equals == std::string::npos || slash == std::string::npos || slash < equals) return false;
  in_addr address = {};
  if (inet_pton(AF_INET, word.substr(equals + 1, slash - equals - 1).c_str(), &address) != 1) return false;
  interface = {word.substr(0, equals), ntohl(address.s_addr), std::atoi(word.c_str() + slash + 1)};
  return interface.prefix >= 0 && interface.prefix <= 32;
}

}  // namespace

std::vector<Interface> own_interfaces() {
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return {};
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(list, freeifaddrs);
  std::vector<Interface> interfaces;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || entry->ifa_netmask == nullptr || entry->ifa_addr->sa_family != AF_INET) continue;
    if ((entry->ifa_flags & IFF_UP) == 0 || (entry->ifa_flags & IFF_LOOPBACK) != 0) continue;
    interfaces.push_back({entry->ifa_name, number_of(entry->ifa_addr), std::popcount(number_of(entry->ifa_netmask))});
  }
  return interfaces;
}

std::string to_text(const std::vector<Interface>& interfaces) {
  std::string text;
  for (const Interface& interface : interfaces) {
    text +=
        fmt::format("{}{}={}/{}", text.empty() ? "" : " ", interface.name, dotted(interface.address), interface.prefix);
  }
  return text;
}

std::vector<Interface> interfaces_from_text(const std::string& text) {
  std::istringstream words(text);
  std::vector<Interface> interfaces;
  Interface interface;
  for (std::string word; words >> word;)
    if (parse_interface(word, interface)) interfaces.push_back(interface);
  return interfaces;
}

std::string network_of(const Interface& interface) {
  return fmt::format("{}/{}", dotted(network(interface)), interface.prefix);
}

std::vector<std::string> common_networks(const std::vector<Interface>& a, const std::vector<Interface>& b) {
  std::vector<std::string> networks;
  for (const Interface& mine : a) {
    const bool joined = std::ranges::any_of(b, [&](const Interface& other) {
      return other.prefix == mine.prefix && network(other) == network(mine) && other.address != mine.address;
    });
    if (joined && std::ranges::find(networks, network_of(mine)) == networks.end()) networks.push_back(network_of(mine));
  }
  return networks;
}

std::vector<Interface> same_addresses(const std::vector<Interface>& a, const std::vector<Interface>& b) {
  std::vector<Interface> found;
  for (const Interface& mine : a)
    if (std::ranges::find(b, mine.address, &Interface::address) != b.end()) found.push_back(mine);
  return found;
}

}  // namespace lshdp::comm
