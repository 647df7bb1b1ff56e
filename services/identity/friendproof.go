package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/befriend"
	"hearth.alt/services/identity/internal/record"
)

// about is what this household says of itself.
func (b *Befriending) about(ctx context.Context) (befriend.About, error) {
	s := b.s
	if err := s.lock(ctx); err != nil {
		return befriend.About{}, err
	}
	defer s.unlock()
	if err := s.writable(); err != nil {
		return befriend.About{}, err
	}
	h := s.state
	a := befriend.About{Name: h.is.Name, Candidates: b.Near()}
	if h.boxes[s.self].State != services.StateActive {
		return a, errors.New("this box is suspended")
	}
	for _, box := range h.boxes {
		if box.State == services.StateActive && box.ID != s.self {
			a.Peers = append(a.Peers, box.ID)
		}
	}
	slices.SortFunc(a.Peers, comparePeers)
	a.Peers = append([]services.PeerID{s.self}, a.Peers...)
	a.Peers = a.Peers[:min(len(a.Peers), services.MaxFriendPeers)]
	slices.SortFunc(a.Peers, comparePeers)
	all := s.shared.Set().Records()
	needed := map[services.PeerID]bool{}
	for _, p := range a.Peers {
		needed[p] = true
	}
	for _, r := range slices.Backward(all[1:]) {
		switch p := r.Payload.(type) {
		case record.AddBox:
			if !needed[p.Box] {
				continue
			}
			if r.Author.Kind == record.KindBox {
				needed[r.Author.Key] = true
			}
		case record.ReplaceBox:
			if !needed[p.Key] {
				continue
			}
			needed[p.Box] = true
		case record.Epoch:
		default:
			continue
		}
		a.Proof = append(a.Proof, r.Bytes())
	}
	a.Proof = append(a.Proof, all[0].Bytes())
	slices.Reverse(a.Proof)
	return a, nil
}

func comparePeers(a, b services.PeerID) int { return slices.Compare(a[:], b[:]) }

// verify returns whose a is. peer, who sent it, and every box that it names must have been taken in by the root that the
// first record of the proof is of, or by a box that was, in the order of the proof. was is the key in whose place the root
// put peer's, zero for none.
func verify(a befriend.About, peer services.PeerID) (id services.FriendID, was services.PeerID, err error) {
	roots, boxes := map[[32]byte]bool{}, map[services.PeerID]bool{}
	for i, raw := range a.Proof {
		r, err := record.Parse(raw)
		if err == nil {
			err = r.Verify()
		}
		if err != nil {
			return id, was, fmt.Errorf("record %d of the proof: %w", i+1, err)
		}
		if (i == 0) != (r.Op() == record.OpGenesis) {
			return id, was, errors.New("the proof does not begin with genesis")
		}
		if i == 0 {
			id = r.Author.Key
			roots[id] = true
		}
		if known := r.Author.Kind == record.KindRoot && roots[r.Author.Key] || r.Author.Kind == record.KindBox && boxes[r.Author.Key]; !known {
			continue
		}
		switch p := r.Payload.(type) {
		case record.AddBox:
			boxes[p.Box] = true
		case record.ReplaceBox:
			if r.Author.Kind == record.KindRoot && boxes[p.Box] {
				boxes[p.Key] = true
				if p.Key == peer {
					was = p.Box
				}
			}
		case record.Epoch:
			if r.Author.Kind == record.KindRoot {
				roots[p.Root] = true
			}
		}
	}
	if !slices.Contains(a.Peers, peer) {
		return id, was, errors.New("the box that speaks is not among those named")
	}
	for _, p := range a.Peers {
		if !boxes[p] {
			return id, was, fmt.Errorf("the box %s is not proven", p)
		}
	}
	return id, was, nil
}
