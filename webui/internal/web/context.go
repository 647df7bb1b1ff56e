// Package web is what every page needs of a request: who asks and in which language, the answer to what was just
// done (flash), cookies, forms, and rendering inside the frame.
package web

import (
	"context"

	"hearth.alt/services"
)

type callerKey struct{}
type sealedKey struct{}

// WithCaller puts who asks into the context.
func WithCaller(ctx context.Context, c services.Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf returns who asks; the zero Caller when nobody said.
func CallerOf(ctx context.Context) services.Caller {
	c, _ := ctx.Value(callerKey{}).(services.Caller)
	return c
}

// WithSealed marks a request that came through the sealed endpoint.
func WithSealed(ctx context.Context) context.Context {
	return context.WithValue(ctx, sealedKey{}, true)
}

// Sealed says whether WithSealed marked the request.
func Sealed(ctx context.Context) bool {
	b, _ := ctx.Value(sealedKey{}).(bool)
	return b
}
