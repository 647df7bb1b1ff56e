// Package flows holds what people do with a box, done in a real browser against the real program: the claim over plain
// http, over https and at the box itself, the first phone, signing in, devices, people, passwords, and every page of
// the route table looked at once. It has tests only.
//
// The boxes of the claim stand in a namespace of netlab, with a home network that is captured; the browser reaches them
// through a SOCKS proxy that dials inside, so that what crosses the wire is what a browser at home would send.
package flows
