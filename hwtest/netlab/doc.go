// Package netlab is the network laboratory: homes, routers, the Internet between them and the phones of the people,
// built in milliseconds from anonymous network namespaces, in the test's own process.
//
//	phone --veth-- [router: NAT, firewall, loss] --veth-- [switch "internet"] --veth-- [router] --veth-- box
//
// A Lab holds Hosts. A Host is one namespace: sockets that are opened inside Do stay there for ever and may be used
// from any goroutine, commands started with Start run there. Hosts are joined by Link (one cable) or Switch (many
// cables); a Router is a Host that forwards, translates addresses like one of the home routers people really have,
// and drops what it was not asked for. Phone is an unmodified upstream wireguard-go configured from the text that
// the stock apps scan, so that nothing in the laboratory speaks our own dialect of the protocol.
//
// Namespaces are anonymous: they live as long as a file descriptor of the test process, so a test that crashes
// leaves nothing behind, and any number of labs run side by side. All methods may be called from any goroutine; those
// that build fail the test at once and must be called from its goroutine, as with testing.TB.
//
// Building a lab needs root. Without it New skips the test and prints the command that would run it.
//
// Limits: this kernel has no netem, so there is loss (nft numgen) and a narrow cable (MTU), but no delay or
// reordering; speed on one shared host says nothing about hardware.
package netlab
