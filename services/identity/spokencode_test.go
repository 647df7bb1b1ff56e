package identity

import (
	"testing"

	"hearth.alt/services"
)

// Two boxes show the same words for one another, in every version of the program; no other two do, nor in another household.
func TestPairWords(t *testing.T) {
	home, a, b, c := services.FriendID{1}, services.PeerID{2}, services.PeerID{3}, services.PeerID{4}
	words := PairWords(home, a, b)
	if words != "various prefer able" || PairWords(home, b, a) != words {
		t.Errorf("the words are %q and %q", words, PairWords(home, b, a))
	}
	for _, other := range []string{PairWords(home, a, c), PairWords(home, c, b), PairWords(services.FriendID{5}, a, b)} {
		if other == words {
			t.Errorf("others have %q, too", other)
		}
	}
}
