package appliance

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"hearth.alt/appliance/api"
	"hearth.alt/services"
	"hearth.alt/services/discovery"
	"hearth.alt/services/identity"
	"hearth.alt/services/link"
)

// joining brings boxes together: it has the invitations of this one served, and opens the way to a box that invites.
type joining struct {
	links       *links
	identity    *identity.Service
	invitations *identity.Invitations
	own         func() []netip.AddrPort // where this box may be found
	near        func() []discovery.Found
	port        uint16 // of a box whose port nobody typed
}

var _ api.Joining = (*joining)(nil)

// Times: until links run after they were wanted, and for each address at which a box may be.
const (
	linksReady = 10 * time.Second
	eachAt     = 6 * time.Second
	maxNear    = 8
)

// protocol is what strangers may ask for while an invitation is open.
func (j *joining) protocol() link.Protocol {
	return link.Protocol{
		Name: identity.JoinProtocol, Strangers: true, Allow: j.invitations.Allow, Most: 4, // one that was refused may try again at once
		Serve: func(ctx context.Context, st *link.Stream) error {
			err := j.invitations.Serve(ctx, st.Peer(), st)
			if j.links.ours(st.Peer()) {
				j.links.where.met(st.Peer(), st.Path())
			}
			return err
		},
	}
}

// Candidates implements api.Joining.
func (j *joining) Candidates() []netip.AddrPort { return j.own() }

// Heard implements api.Joining.
func (j *joining) Heard(peer services.PeerID) time.Time { return j.links.where.heard(peer) }

// Away implements api.Joining.
func (j *joining) Away() []services.PeerID { return j.links.away(time.Now()) }

// Linked implements api.Joining.
func (j *joining) Linked() map[services.PeerID]bool { return j.links.linked(identity.LogProtocol) }

// ByLink implements api.Joining.
func (j *joining) ByLink(ctx context.Context, l identity.InviteLink, name string) error {
	if err := j.run(ctx); err != nil {
		return err
	}
	j.links.where.note(l.Inviter, l.Candidates...)
	st, err := patient(ctx, func() (*link.Stream, error) { return j.links.link.Open(ctx, l.Inviter, identity.JoinProtocol) })
	if err != nil {
		return err
	}
	defer st.Cancel()
	return j.identity.JoinWith(ctx, st, l, name)
}

// ByCode implements api.Joining. The boxes that are found at home are asked one after another: one that shows no code
// does not speak the protocol.
func (j *joining) ByCode(ctx context.Context, at string, code identity.SpokenCode, name string) (peer services.PeerID, err error) {
	if err := j.run(ctx); err != nil {
		return peer, err
	}
	boxes, err := j.boxesAt(ctx, at)
	if err != nil {
		return peer, err
	}
	for _, addresses := range boxes {
		var st *link.Stream
		if st, err = j.openAt(ctx, addresses); err != nil {
			continue
		}
		defer st.Cancel()
		path := st.Path().Address
		peer = st.Peer()
		if err = j.identity.JoinWithCode(ctx, st, peer, code, name); err == nil {
			j.links.where.note(peer, path)
		}
		return peer, err
	}
	return peer, err
}

// patient opens a stream to a box that may still be ending what was tried just before.
func patient(ctx context.Context, open func() (*link.Stream, error)) (*link.Stream, error) {
	for tries := 5; ; tries-- {
		st, err := open()
		var refused *link.RefusedError
		if tries == 0 || !errors.As(err, &refused) || refused.Code != link.RefusedBusy {
			return st, err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// openAt opens a stream to the box at the first of its addresses that answers.
func (j *joining) openAt(ctx context.Context, addresses []netip.AddrPort) (st *link.Stream, err error) {
	for _, a := range addresses {
		one, cancel := context.WithTimeout(ctx, eachAt)
		st, err = patient(one, func() (*link.Stream, error) { return j.links.link.OpenAt(one, a, identity.JoinProtocol) })
		cancel()
		var refused *link.RefusedError
		if err == nil || errors.As(err, &refused) || ctx.Err() != nil {
			return st, err
		}
	}
	return nil, err
}

// boxesAt are the boxes that are meant, each with where it may be.
func (j *joining) boxesAt(ctx context.Context, at string) ([][]netip.AddrPort, error) {
	at = strings.TrimSuffix(strings.TrimSpace(at), ".")
	self := j.identity.Membership().Self
	var out [][]netip.AddrPort
	for _, f := range j.near() {
		meant := at == "" || strings.EqualFold(at, f.Host) || strings.EqualFold(at, f.Name)
		if addresses := foundAt(f); meant && f.Kind == discovery.KindHearth && !announces(f, self) && len(addresses) > 0 && len(out) < maxNear {
			out = append(out, addresses)
		}
	}
	switch {
	case len(out) > 0:
		return out, nil
	case at == "":
		return nil, api.ErrNoBoxNear
	}
	host, port := at, j.port
	if h, p, err := net.SplitHostPort(at); err == nil {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return nil, badAddress(at, err)
		}
		host, port = h, uint16(n)
	}
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return [][]netip.AddrPort{{netip.AddrPortFrom(ip, port)}}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, eachAt)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(found) == 0 {
		return nil, badAddress(at, err)
	}
	var addresses []netip.AddrPort
	for _, ip := range found[:min(len(found), maxAddresses)] {
		addresses = append(addresses, netip.AddrPortFrom(ip.Unmap(), port))
	}
	return [][]netip.AddrPort{addresses}, nil
}

func badAddress(at string, cause error) error {
	return &services.Problem{
		Kind: services.KindInvalid, Code: "bad-address", Field: "at", Cause: cause,
		Say: services.Say("house.join-address", "{at} is no address and no name that is known in this network. Type the other box's address: its page Network shows it.", "at", at),
	}
}

// run has links run and waits until they do.
func (j *joining) run(ctx context.Context) error {
	j.links.want()
	late := time.After(linksReady)
	for !j.links.Health().Ready {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-late:
			return link.ErrNotRunning
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
