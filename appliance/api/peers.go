package api

import (
	"context"
	"errors"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/services/link"
	"hearth.alt/services/looks"
)

// ErrNoPeer says that no box is meant.
var ErrNoPeer = &services.Problem{Kind: services.KindNotFound, Code: "no-peer", Field: "who", Say: services.Say("house.no-peer", "No box of that name belongs to this household, and no friend has it. A box can be named by its name or by its PeerID, as box list shows them, and a friend's by what you call the friend.")}

// peer finds a box by its name, its label or its PeerID. Any PeerID will do: whether it may be linked to shows. Of a friend's,
// by what the friend is called, it is one of several.
func (h *House) peer(who string) (services.PeerID, error) {
	peers, err := h.peers(who)
	if err != nil {
		return services.PeerID{}, err
	}
	return peers[0], nil
}

// peers is peer with all boxes of a friend.
func (h *House) peers(who string) ([]services.PeerID, error) {
	m := h.Identity.Membership()
	for _, b := range m.Boxes {
		if b.Label == who {
			return []services.PeerID{b.ID}, nil
		}
	}
	if found := looks.Named(m.Boxes, func(b services.Box) string { return b.Name }, who); len(found) == 1 {
		return []services.PeerID{found[0].ID}, nil
	}
	if found := looks.Named(m.Friends, func(f services.Friend) string { return f.Petname }, who); len(found) == 1 && len(found[0].Peers) > 0 {
		return found[0].Peers, nil
	}
	id, err := services.ParsePeerID(who)
	if err != nil {
		return nil, ErrNoPeer
	}
	return []services.PeerID{id}, nil
}

// PeerInput names a box.
type PeerInput struct {
	Who string `json:"who" arg:"WHO" path:"who" help:"the box's name or PeerID, or a friend's name"`
}

// PingOutput is a box's sign of life.
type PingOutput struct {
	OK   bool    `json:"ok"`
	RTT  float64 `json:"rtt_ms"` // there and back, on the open link
	Path string  `json:"path"`   // "udp 192.168.1.5:41820", or tcp where no UDP passes
}

// pingTime bounds a ping: a box may be found on the last of several paths.
const pingTime = 20 * time.Second

// Ping asks another box for a sign of life.
func (h *House) Ping(ctx context.Context, caller services.Caller, in PeerInput) (PingOutput, error) {
	if err := least(caller, services.RoleMember); err != nil {
		return PingOutput{}, err
	}
	peers, err := h.otherPeers(in.Who)
	if err != nil {
		return PingOutput{}, err
	}
	pong, err := first(ctx, peers, h.Link.Ping)
	if err != nil {
		return PingOutput{}, linkProblem(in.Who, err)
	}
	return PingOutput{OK: true, RTT: float64(pong.RTT.Microseconds()) / 1000, Path: pong.Path.Via + " " + pong.Path.Address.String()}, nil
}

// PeerProtocolOutput is one protocol that another box speaks with this one.
type PeerProtocolOutput struct {
	Name string `json:"name"`
}

// PeerProtocols lists what another box speaks with this one.
func (h *House) PeerProtocols(ctx context.Context, caller services.Caller, in PeerInput) ([]PeerProtocolOutput, error) {
	if err := least(caller, services.RoleMember); err != nil {
		return nil, err
	}
	peers, err := h.otherPeers(in.Who)
	if err != nil {
		return nil, err
	}
	names, err := first(ctx, peers, h.Link.PeerProtocols)
	if err != nil {
		return nil, linkProblem(in.Who, err)
	}
	out := []PeerProtocolOutput{}
	for _, n := range names {
		out = append(out, PeerProtocolOutput{n})
	}
	return out, nil
}

func (h *House) otherPeers(who string) ([]services.PeerID, error) {
	peers, err := h.peers(who)
	if err == nil && peers[0] == h.Identity.Membership().Self {
		err = &services.Problem{
			Kind: services.KindInvalid, Code: "self", Field: "who",
			Say: services.Say("house.peer-self", "That is this box itself. Name another one."),
		}
	}
	return peers, err
}

// first asks all peers at once, in pingTime, and returns what the first that answers says.
func first[T any](ctx context.Context, peers []services.PeerID, ask func(context.Context, services.PeerID) (T, error)) (answer T, err error) {
	ctx, cancel := context.WithTimeout(ctx, pingTime)
	defer cancel()
	type reply struct {
		answer T
		err    error
	}
	replies := make(chan reply, len(peers))
	for _, p := range peers {
		go func() {
			a, err := ask(ctx, p)
			replies <- reply{a, err}
		}()
	}
	for range peers {
		r := <-replies
		if r.err == nil {
			return r.answer, nil
		}
		err = errors.Join(err, r.err)
	}
	return answer, err
}

// linkProblem says in a sentence why another box did not answer.
func linkProblem(who string, err error) error {
	p := &services.Problem{Kind: services.KindUnavailable, Cause: err}
	var refused *link.RefusedError
	switch {
	case errors.Is(err, link.ErrNotRunning):
		p.Code, p.Say = "links-off", services.Say("house.peer.off", "Links to other boxes are not running on this box. “hearth status” says why.")
	case errors.Is(err, link.ErrWrongPeer):
		p.Code, p.Say = "wrong-peer", services.Say("house.peer.wrong", "Another box answered where {who} was last seen. It was not let in. {who} may have a new address: it is found again as soon as it calls.", "who", who)
	case errors.As(err, &refused) && refused.Code == link.RefusedBusy:
		p.Code, p.Say = "busy", services.Say("house.peer.busy", "{who} is busy. Try again in a minute.", "who", who)
	case errors.As(err, &refused):
		p.Code, p.Say = "refused", services.Say("house.peer.refused", "{who} does not speak with this box. Perhaps one of the two removed the other.", "who", who)
	default:
		p.Code, p.Say = "unreachable", services.Say("house.peer.unreachable", "{who} does not answer where it was last seen. Look whether it is switched on and connected.", "who", who)
	}
	return p
}

// LogOutput is one record of the household's log.
type LogOutput struct {
	ID     string    `json:"id" show:"short"`
	Author string    `json:"author"` // what the box is or was called; "root" is the 24 words' key
	Op     string    `json:"op"`
	What   string    `json:"what"`  // the same in words
	At     time.Time `json:"at"`    // by the clock of the box that made it; decides nothing
	Valid  bool      `json:"valid"` // it has its effect
	Why    string    `json:"why,omitempty"`
}

// LogEntries returns the records of the household's log, in the order in which they take effect.
func (h *House) LogEntries(caller services.Caller) ([]identity.Entry, error) {
	if err := least(caller, services.RoleAdmin); err != nil {
		return nil, err
	}
	return h.Identity.Entries()
}

// ShowLog lists the records of the household's log, in the order in which they take effect.
func (h *House) ShowLog(_ context.Context, caller services.Caller, _ None) ([]LogOutput, error) {
	entries, err := h.LogEntries(caller)
	if err != nil {
		return nil, err
	}
	out := []LogOutput{}
	for _, e := range entries {
		o := LogOutput{ID: e.ID, Author: e.Box, Op: e.Op, What: e.What.String(), At: e.At, Valid: e.Why.IsZero(), Why: e.Why.String()}
		switch {
		case e.Author.IsZero():
			o.Author = "root"
		case e.Box == "":
			o.Author = e.Author.String()
		}
		out = append(out, o)
	}
	return out, nil
}

// VerifyLogOutput says that every record is good.
type VerifyLogOutput struct {
	OK      bool `json:"ok"`
	Records int  `json:"records"`
}

// VerifyLog checks every record on the disk.
func (h *House) VerifyLog(ctx context.Context, caller services.Caller, _ None) (VerifyLogOutput, error) {
	if err := least(caller, services.RoleAdmin); err != nil {
		return VerifyLogOutput{}, err
	}
	n, err := h.Identity.Verify(ctx)
	return VerifyLogOutput{OK: err == nil, Records: n}, err
}
