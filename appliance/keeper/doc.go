// Package keeper is the privileged process. Hearth started as root splits in two: the keeper, which owns the TUN,
// the nft tables, the low ports and the long-lived keys, and parses nothing that came from the network; and its
// child, which runs everything else under its own uid without any capability and asks the keeper by about a
// dozen typed calls (Keeper) over a socket pair.
//
//	keeper (root)                               hearth (uid 64001, no capabilities, no_new_privs)
//	  Run ── spawns, restarts, stops ──────────>  Dial(fd 3) = Client, a Keeper
//	  Local, a Keeper <── Serve ── socketpair ──  calls; files come back by SCM_RIGHTS
//
// In --dev, or without root, the Local is used in the same process and nothing is spawned.
package keeper
