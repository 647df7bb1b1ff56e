// Package certificate gives the box its https certificate: a certificate authority of the household's own that can
// vouch for nothing but the box, and leaves of 90 days that renew themselves.
//
//	root (10 years; its key never leaves MakeCA)          installed on phones and laptops, over the tunnel only
//	 `- intermediate (10 years; its key lives in keeper)  signs digests by request
//	     `- leaf (90 days; its key lives in memory)       <box>.local, <box>.<domain>, <domain>, private addresses
//
// Root and intermediate carry the same critical name constraints (RFC 5280, section 4.2.1.10), so that a household
// which trusts the root risks nothing beyond its own names, even if the box is stolen:
//
//   - DNS: <household>.home.arpa and what is below it;
//   - DNS: <box>.local. The standard has no form for "exactly this name": what is below it is permitted too, and
//     nothing else answers there;
//   - addresses: the household's two networks of the client plane, and the private networks the box was on when the
//     authority was made. Not all of RFC 1918: the router at 192.168.1.1 is somebody else's.
//
// The intermediate may sign for TLS servers only, and no further authority. What it does not permit is left out of
// the leaf, so a leaf always verifies.
//
// Consequences, which Health tells when they are so: a box that is renamed, or a household that moves to another
// network, needs a new authority for https at the new <box>.local or at the new address; the names below the
// household's domain go on working. Outlived says when it is due. The keeper replaces no authority yet:
// whatever does will have to ask the owner, call Service.Reload, and have the devices install the new root.
//
// A box that its household removed has a leaf for its addresses: the 24 words may take it back, on its own page.
//
// Before the claim the service hands out the claim certificate (services/claimcode). The box's clock may be wrong at
// start, and forged NTP may lead it on. So an authority begins at a fixed day before any program that makes one, whatever
// the box knows; it stays when the time is set back, and a leaf made for a later time is made anew. Until something
// vouches for the time a leaf is made from the known lower bound, long enough for a box that lay in a drawer for a year;
// it is replaced as soon as the time is known.
//
// A leaf has a key of its own, made with it. Whenever somebody or something is removed, or an epoch settles who belongs
// (services.Membership.Generation), a new one is made, a phone's removal included: it costs a key and a signature, nobody
// sees it, and one rule is easier to trust than four. Do not expect much of it. No phone and no other box ever held the
// key. Only who had the machine itself, or could read its memory, may have copied it, and what they copied goes on to
// be believed until it ends, since there is no revocation: the new key keeps them out of handshakes to come, not from
// standing in for the box where they can put themselves between. Against that helps a new authority alone.
//
// The service keeps nothing on disk: every start makes a new key, so that none is missed.
package certificate
