// Package mesh is the way in: the client plane, WireGuard for the phones and laptops of the household with the stock
// apps, in user space.
//
//	membership -> peers (allowed: the device's two addresses, nothing else)
//	internal/bind      the library's sockets, and peers that roam
//	internal/clamp     the tunnel interface, and TCP that fits every way
//	internal/portmap   one UDP port of the router's outside address
//	internal/stock     the text and the QR code that the apps read
//
// The service makes the membership so: a device that is in the snapshot and not expired is a peer, any other is not,
// within moments of the snapshot's change and without touching the others. It reports the first handshake of a
// pending device, says where devices will work (Reach), and writes their configurations.
//
// Promises. An unclaimed box opens no socket. A device's key opens exactly its own two addresses, whatever a packet
// claims. An address is believed after a session's packet was decrypted, not before. Killed and started again, the
// service takes the same port and calls the phones it knew, so that nobody needs to touch one. Without a tunnel
// interface (no root) everything that needs none still works, and Health says so. At most one UDP port is mapped, for
// at most two hours at a time.
//
// What it does not do: firewalling between devices and the home network (services/firewall), names (services/dns),
// the mesh between boxes (a plane of its own, later), pinholes in IPv6 firewalls.
//
// State: <dir>/state.json (the port, where devices were last) and <dir>/portmap.json (the mapping and its nonce).
// Both can be lost without harm, so the service offers no Snapshotter: nothing here is worth an archive.
package mesh
