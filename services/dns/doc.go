// Package dns answers the household's questions for names: its own by itself, everyone else's through an encrypted
// forwarder with a cache.
//
//	question -> cache (wire form, no allocation) -> local names -> coalesced question to an upstream -> cache
//
// Local names, never forwarded:
//
//   - <household>.home.arpa (RFC 8375) from the Membership: the domain itself and every box by its label; a device as
//     <device>.<person>.<domain>, and as <device>.<domain> where no box, person or other device has that label. A
//     name that two would share belongs to nobody. Reverse zones for the tunnel's addresses.
//   - Everything else below home.arpa, local, alt (RFC 9476), onion (RFC 7686), invalid, test and localhost (RFC 6761),
//     internal, the reverse zones of private addresses (RFC 6303, RFC 7793): a negative answer with a SOA (RFC 2308).
//     Only "DS home.arpa" is forwarded, because its answer lives in arpa (RFC 8375, section 4).
//   - resolver.arpa is empty: no designated resolver (RFC 9462). use-application-dns.net does not exist: browsers
//     keep asking the box.
//
// Everything else goes to the configured upstreams, as a rule DNS over TLS with the name in the certificate verified
// (RFC 7858, RFC 8310 strict profile), padded (RFC 8467), pipelined over one connection each. A slow upstream is
// overtaken by the next after a few hundred milliseconds; a dead one rests for seconds to a minute, which means that it
// is asked after the others. A name that nobody answers for says nothing about an upstream that answers meanwhile.
//
// When the box does not know the time yet, or the network blocks port 853, the resolvers that DHCP named may be asked
// in the clear, but only until DNS over TLS has worked once since Run; from then on never again until the next Run.
// AllowPlain switches even that off. Health says which way is in use. Someone who holds the network at the moment of
// the start can thus see questions (never answer for names below home.arpa); that is the price of a house whose phones work
// on every network. Health says that names outside are not answered when nobody could be asked, or several domains in a
// row got silence.
//
// The cache is bounded in bytes, obeys and caps lifetimes, keeps negative answers by RFC 2308, serves expired answers
// for at most a day while no upstream answers (RFC 8767), and refreshes popular ones shortly before they end. An
// outage is remembered for two seconds (RFC 9520). Questions asked by many at once are asked upstream once.
//
// Nobody takes all of what is bounded: the questions upstream, and those that wait for them, are shared between
// addresses and networks (crowd.Count); one too many is answered "cannot say" at once, or with an expired answer. Of the
// connections by TCP the longest unused one of whoever has most makes room for a new one (crowd.Table). What the cache
// or the local zones answer has no bound.
//
// Of an answer from outside only what is about the question is kept (RFC 5452, section 6): the aliases from the name
// asked for, what was asked for at their end, the zone's SOA and NS, proofs and signatures, and beside HTTPS and SVCB what
// their targets are (RFC 9460, section 4.2), as far as it fits the smallest answer. What answers another
// question is no answer. Aliases in a circle, or more than 20 names in a row, are "cannot say".
//
// Answers from outside must not point inside: records with private, loopback or link-local addresses, also in the
// dress of an IPv6 transition, and those with the house's own global ones (Config.Home) are taken out of what
// upstreams say (rebinding protection), and so are HTTPS and SVCB records with such hints. Whoever asks is told so by an
// extended error (RFC 8914). The household may name domains that point home all the same (homeward.go): to what is in
// the house, never to the asker itself or a link, and never domains below which strangers have names.
//
// Not done here: recursion, validation (the DO and CD bits pass through; AD comes from an upstream that is asked
// encrypted, and from no other), block lists, petnames. Questions are accepted from whoever reaches the sockets handed
// in; whom the firewall lets there is not decided here.
package dns
