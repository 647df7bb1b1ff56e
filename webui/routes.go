package webui

import (
	"net/http"

	"hearth.alt/services"
)

// Class says which rules a route follows (DESIGN.md, section 4).
type Class uint8

// The classes of webui's routes.
const (
	ClassPage  Class = iota // cookie; cross-origin refused
	ClassAsset              // no credential at all, cached for ever by its content hash
)

// Route is one line of the route table. Whoever serves it enforces all of it before Handler runs: face, host,
// cross-origin protection, claim, role, fresh password. Handler finds the caller with CallerOf.
type Route struct {
	Method string // "GET" (HEAD included) or "POST"
	Path   string // pattern of net/http.ServeMux without the method; "{$}" ends an exact "/"
	Class  Class
	Faces  []services.Face // where it may be reached
	// Sealed routes are also answered through the sealed endpoint of the plain LAN face, with WithSealed in the context.
	Sealed bool
	Least  services.Role // RoleNone is open to everybody
	Before bool          // served before the claim
	After  bool          // served after the claim
	// Removed routes are served even once the household removed the box.
	Removed bool
	// Fresh routes want a password proven in the last minutes (House.Refresh). Without one, answer with NeedPassword,
	// which leads to the page that asks and back to the page of the same path.
	Fresh   bool
	Page    string // name of the page folder, for tests that walk the table
	Handler http.HandlerFunc
}
