// The network interfaces of a host, and which of them can join it with another.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace lshdp::comm {

/// One IPv4 address of an interface.
struct Interface {
  std::string name;
  std::uint32_t address = 0;  // in the host's byte order
  int prefix = 32;            // bits of the network
  bool operator==(const Interface&) const = default;
};

/// Those that are up, without the loopback's.
std::vector<Interface> own_interfaces();

/// "eth0=10.0.0.1/24 docker0=172.17.0.1/16", and back; what cannot be read is left out.
std::string to_text(const std::vector<Interface>& interfaces);
std::vector<Interface> interfaces_from_text(const std::string& text);

/// The network of an interface: "10.0.0.0/24".
std::string network_of(const Interface& interface);

/// Networks in which two hosts have different addresses, in the order of `a`.
std::vector<std::string> common_networks(const std::vector<Interface>& a, const std::vector<Interface>& b);
/// Interfaces of `a` whose address `b` has as well: messages to them come back to their sender.
std::vector<Interface> same_addresses(const std::vector<Interface>& a, const std::vector<Interface>& b);

}  // namespace lshdp::comm
