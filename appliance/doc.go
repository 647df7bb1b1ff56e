// Package appliance is the composition root: it reads the options, builds the services, hands each what it needs of
// the others, supervises them, and stops them in reverse order. wire.go is all wiring, to be read in one sitting.
//
//	options ──> keeper (in process, or over fd 3)
//	              │ keys, sockets, TUN, nft
//	              v
//	identity ──Membership──> certificate · dns · discovery · firewall · mesh · account
//	              │                                                      │
//	              └──────────────> api.House <──── webui pages, /api/v1, admin.sock
//	                                   │
//	                     faces: LAN · tunnel · https at home · console
//
// A service that fails is started again with growing, jittered pauses while the rest keep running; a panic in one is
// a failure of that one. Only main exits the process.
package appliance
