// Package discovery makes the box found on the home network and finds what else is there.
//
// Two parts share the work:
//
//   - The responder (responder.go; answer.go answers questions, hear.go takes what others say) answers Multicast DNS
//     (RFC 6762) for "<label>.local": addresses both ways, and the box's own services by DNS-SD (RFC 6763). It is a pure
//     machine: packets, link changes and the time go in, packets come out. It probes, breaks ties, announces, defends,
//     renames itself after a conflict ("hearth-2.local"), follows addresses link by link and says goodbye.
//   - The browser (browser.go) asks for other Hearths, printers, players and file boxes through grandcat/zeroconf, in
//     rounds that grow rarer. The responder hears every announcement and goodbye anyway and passes the hints on, so
//     that the list follows within seconds with hardly any traffic.
//
// service.go gives both their sockets, and rtnetlink's word on links and addresses.
//
// Before the claim the name is "hearth.local", after it the label of the box. One number is shared by the host name
// and the service instances: the box is "hearth-2" everywhere or nowhere.
//
// What is told to the network: the label, the addresses of the very link that asked, the port of http, or that of https
// where http is not open; of a claimed box also the first 16 characters of its PeerID and the port of the mesh plane; of
// an unclaimed one only "claim=1". Nothing about the household or its people.
//
// Limits, all deliberate:
//
//   - 256 services are listed. When there are more, whoever told of the most gives way, by the source of the packets.
//     On a network that lets its hosts take many addresses somebody can still fill the list.
//   - Questions are sent as multicast, never "QU": beside another responder on the same host (Avahi, or zeroconf in
//     this very process) a unicast answer to port 5353 reaches only one of them (RFC 6762, section 15.1).
//   - Packets to the group are taken as local, since routers do not forward it; packets to an address of ours only when
//     their source is on a prefix of the link they came in on (section 11). Nothing is ever sent to a source off
//     the link.
//   - Names are not kept over a restart: the box asks for its plain name again each time it starts.
package discovery
