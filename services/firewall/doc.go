// Package firewall is the only writer of nft state. It takes who belongs (Membership) and where the box stands
// (interfaces, networks) and makes one desired State; Compose turns that into a Ruleset, a value with a canonical
// text that reads as `nft list ruleset` prints it; Apply makes the kernel so in one atomic step and reads it back.
//
//	Membership ─┐
//	interfaces ─┴> Service ─ State ─> Apply (in the keeper) ─ Compose ─ Ruleset ─> nft table "inet hearth"
//
// What it promises:
//
//   - Nothing passes between the tunnel and anything else unless a rule here says so, on a laptop too.
//   - A source that is no known device is dropped, before anything looks at connection tracking. A device that is
//     removed therefore loses its established flows with the same update; nothing has to be flushed.
//   - The box's tunnel addresses answer only to the tunnel and to the box itself: a neighbour on the home network
//     that sends packets for them over the LAN meets a drop, since the tunnel's listeners trust what reaches them.
//   - Guests' devices reach the box's DNS and web and nothing else, over IPv4 and IPv6: no ping, no other port, no
//     other device, no home network.
//   - Devices of one person may reach one another; devices of different people may not. Deny is the default
//     because a phone trusts its own network more than it should; sharing goes through the box.
//   - Only devices of people with LAN reach the home network, only the prefixes that are on the box's own LAN
//     interfaces, and hidden behind the box's address (masquerade), as the neighbours have no way back otherwise.
//   - On a laptop only packets from or to the own TUN are judged, in a table named after it; other tables, the
//     host's sysctls and its routes stay as they are. IPv4 and IPv6 forwarding are switched on for the TUN alone,
//     so devices there reach the home network only if the host forwards anyway.
//
// What it does not do: count, log, limit rates, or judge what the box itself sends (except into the tunnel).
//
// Two ways of counting a device as known differ from the log's: a device that was not scanned yet counts, and so
// does one of a person who was invited and has not signed in. WireGuard has proved the device's key before any of
// its packets gets here, and the first of them must not be lost.
package firewall
