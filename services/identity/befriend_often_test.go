package identity_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/identity"
	wire "hearth.alt/services/identity/internal/befriend"
)

// A friend's box that tells something else each time it greets fills neither the log, which never shrinks, nor wears the
// card; and what it may still tell in the end is heard.
func TestFriendTellsTooOften(t *testing.T) {
	smith, jones := newHouse(t, "Smith"), newHouse(t, "Jones")
	if _, err := befriend(t, jones, smith, smith.invite(identity.FriendInvite{}), ""); err != nil {
		t.Fatal(err)
	}
	hello := func(name string, n int) {
		near, done := served(t, smith, jones.keys.PeerID())
		about := wire.About{
			Name: name, Peers: []services.PeerID{jones.keys.PeerID()}, Proof: jones.RecordBytes(),
			Candidates: []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("192.0.2.9"), uint16(1000+n))},
		}
		if err := wire.Write(near, wire.Hello{About: about}); err != nil {
			t.Error(err)
		}
		if m, err := wire.Read(near); err != nil {
			t.Errorf("it is answered with %v, %v", m, err)
		}
		near.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	hello("Jones and sons", 0)
	if f, _ := smith.Membership().Friend(jones.id); f.Nickname != "Jones and sons" {
		t.Errorf("they are called %q", f.Nickname)
	}
	book := filepath.Join(smith.dir, "friends.json")
	was, err := os.Stat(book)
	if err != nil {
		t.Fatal(err)
	}
	before := len(smith.RecordBytes())
	for i := range 50 {
		hello(fmt.Sprintf("Jones %d", i), i)
	}
	if n := len(smith.RecordBytes()) - before; n > 10 {
		t.Errorf("50 greetings made %d records in the log of whoever was greeted", n)
	}
	if is, err := os.Stat(book); err != nil || !is.ModTime().Equal(was.ModTime()) {
		t.Errorf("the book was written each time that the friend was elsewhere: %v", err)
	}
	if at := smith.Paths(jones.keys.PeerID()); len(at) != 1 || at[0].Port() != 1049 {
		t.Errorf("they are looked for at %v", at)
	}
}
