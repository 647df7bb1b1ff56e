package webui

import (
	"context"
	"net/http"

	"hearth.alt/services"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
)

// House is what the pages ask; appliance implements it.
type House = house.House

// WithCaller puts who asks into the context. Whoever serves the routes calls it for every request.
func WithCaller(ctx context.Context, c services.Caller) context.Context {
	return web.WithCaller(ctx, c)
}

// CallerOf returns who asks; the zero Caller when nobody said.
func CallerOf(ctx context.Context) services.Caller { return web.CallerOf(ctx) }

// WithSealed marks a request that came through the sealed endpoint of the plain LAN face: its cookies travel inside
// the seal and so may be set.
func WithSealed(ctx context.Context) context.Context { return web.WithSealed(ctx) }

// Sealed says whether WithSealed marked the request.
func Sealed(ctx context.Context) bool { return web.Sealed(ctx) }

// MayHold says whether a cookie worth stealing may be set with the answer to r: anywhere but on plain http on the home
// network, unless the request travels sealed.
func MayHold(r *http.Request) bool { return web.MayHold(r) }
