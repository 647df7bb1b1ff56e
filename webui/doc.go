// Package webui is the pages of the house: one route table (UI.Routes), the pages it leads to (folder pages, one
// each), the parts they are made of (components), the words (messages) and what browsers load besides (assets).
//
// It has no business logic. Every page asks house.House, builds a view of exactly what it shows, and renders. All
// forms work without scripts: a POST answers with a redirect (303) and the page that follows says first what was
// done. Scripts only smooth. Who serves the routes enforces faces, roles, hosts, origins, sessions and the
// Content-Security-Policy (ContentSecurityPolicy); the pages need neither inline script nor inline style.
//
// Try it: make gallery serves every page in every state on localhost, without a house behind it.
package webui
