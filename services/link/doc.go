// Package link keeps sessions between boxes. A box is dialled by its PeerID, wherever it is; a program asks for a
// stream by ProtocolName and gets one when the other box speaks that protocol with this one.
//
//	Open(peer, names) ── session there? ──────────────────────── PROPOSE ──▶ SELECT ── Stream
//	                        │ no                                    │
//	                        ▼                                       │
//	                     Paths(peer): QUIC on each, then            │
//	                     QUIC over TLS over TCP on each             │
//	                                                                ▼
//	Protocols: name, who may, how many ◀── stream of a peer ── Serve(ctx, Stream)
//
// # The parts
//
//   - proof.go: who is at the other end. Mutual TLS 1.3 with device keys, which the keeper holds and signs with;
//   - internal/wire: the frames that open a stream, described byte by byte;
//   - session.go, stream.go: one QUIC connection (RFC 9000, datagrams RFC 9221) with ALPN hearth/1, and what runs in it;
//   - dial.go: which path is tried when; tcp.go: the path of last resort;
//   - service.go: the sessions there are, and their bounds; ping.go: the one protocol that every box speaks.
//
// # What it promises
//
//   - A Stream's peer holds the device key that its PeerID is. Being at the right address proves nothing.
//   - Names are chosen by the opener's order among those that both speak. A proposal changed on its way is found out
//     (ErrTranscript), whatever the path.
//   - A peer that Knows no longer names loses its sessions, and one that Allow no longer names its stream, before Recheck
//     returns, a second later at the most.
//   - Bounded: sessions in all, of a peer and of strangers; streams of a session and of a protocol; what is held for
//     those that do not read. Whoever is refused is told why (RefusedError).
//   - A handler that panics ends its stream and nothing else.
//
// # What it does not do
//
// It keeps nothing on disk, decides nothing about rights and finds no paths: those are handed in. Datagrams may get
// lost, come twice or in another order, and are dropped while their receiver has 64 waiting.
package link
