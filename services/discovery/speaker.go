package discovery

import (
	"hash/maphash"
	"net/netip"
	"slices"
	"time"
)

// Bounds of what is remembered of who said what: 64 KiB in all.
const (
	maxSpeakers = 128
	maxSaid     = 64
)

// speakers remember which address told of which instances lately, because zeroconf tells what it heard and not from
// whom. They are not safe for concurrent use.
type speakers struct {
	seed maphash.Seed
	from map[netip.Addr]*speaker
}

type speaker struct {
	last time.Time
	said []uint64 // hashes of table keys, a ring of at most maxSaid
	next int
}

func newSpeakers() speakers {
	return speakers{seed: maphash.MakeSeed(), from: map[netip.Addr]*speaker{}}
}

// hear notes that from told of an instance. When there are too many, whoever was silent longest is forgotten.
func (s *speakers) hear(now time.Time, from netip.Addr, key string) {
	p := s.from[from]
	if p == nil {
		if len(s.from) >= maxSpeakers {
			var oldest netip.Addr
			for a, o := range s.from {
				if !oldest.IsValid() || o.last.Before(s.from[oldest].last) {
					oldest = a
				}
			}
			delete(s.from, oldest)
		}
		p = &speaker{}
		s.from[from] = p
	}
	p.last = now
	h := maphash.String(s.seed, key)
	switch {
	case slices.Contains(p.said, h):
	case len(p.said) < maxSaid:
		p.said = append(p.said, h)
	default:
		p.said[p.next] = h
		p.next = (p.next + 1) % maxSaid
	}
}

// of lists who told of an instance.
func (s *speakers) of(key string) (list []netip.Addr) {
	h := maphash.String(s.seed, key)
	for a, p := range s.from {
		if slices.Contains(p.said, h) {
			list = append(list, a)
		}
	}
	return list
}
