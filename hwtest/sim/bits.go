package sim

// bits is a set of small numbers. The zero bits are empty.
type bits []uint64

func (s bits) has(i int) bool { return i/64 < len(s) && s[i/64]>>(i%64)&1 != 0 }

func (s *bits) add(i int) {
	for i/64 >= len(*s) {
		*s = append(*s, 0)
	}
	(*s)[i/64] |= 1 << (i % 64)
}

// join adds all of o.
func (s *bits) join(o bits) {
	for len(*s) < len(o) {
		*s = append(*s, 0)
	}
	for i, x := range o {
		(*s)[i] |= x
	}
}

// within says whether all of s is in o.
func (s bits) within(o bits) bool {
	for i, x := range s {
		if i < len(o) {
			x &^= o[i]
		}
		if x != 0 {
			return false
		}
	}
	return true
}

func (s bits) equal(o bits) bool { return s.within(o) && o.within(s) }

// key is the same for equal sets.
func (s bits) key() string {
	for len(s) > 0 && s[len(s)-1] == 0 {
		s = s[:len(s)-1]
	}
	b := make([]byte, 0, 8*len(s))
	for _, x := range s {
		for k := 0; k < 64; k += 8 {
			b = append(b, byte(x>>k))
		}
	}
	return string(b)
}
