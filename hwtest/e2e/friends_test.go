package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth.alt/hwtest/box"
)

type friendly struct {
	ID             string
	Name, Nickname string
	Grants         []string
	Until, As_of   *time.Time
	Warning        string
}

// household starts a box on this computer and claims it.
func household(t *testing.T, name string) *box.Box {
	t.Helper()
	b := box.Start(t, box.Options{})
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.Do(nil, "claim", "--household", name, "--box", "Box of "+name, "--owner", "Ann", "--password-file", file)
	within(t, 30*time.Second, "links do not run", func() error {
		var s status
		if f := b.TryDo(&s, "status"); f != nil {
			return fmt.Errorf("status: %s", f.Stderr)
		}
		for _, v := range s.Services {
			if v.Name == "link" && v.Ready {
				return nil
			}
		}
		return fmt.Errorf("services are %+v", s.Services)
	})
	return b
}

func friends(b *box.Box) (out []friendly) {
	b.T.Helper()
	b.Do(&out, "friend", "list")
	return out
}

func invite(b *box.Box, args ...string) (id, link string) {
	b.T.Helper()
	var made struct{ ID, Link string }
	b.Do(&made, append([]string{"friend", "invite"}, args...)...)
	return made.ID, made.Link
}

// TestFriends has two households become friends, lose their plug, find one another at another port, and part.
func TestFriends(t *testing.T) {
	smith, jones, brown := household(t, "Smith"), household(t, "Jones"), household(t, "Brown")

	_, link := invite(smith, "--petname", "Tom and Jo", "--grant", "store=10GB", "--grant", "relay")
	jones.Do(nil, "friend", "accept", link, "--petname", "The Smiths", "--grant", "follow")
	refused := func(b *box.Box, code string, args ...string) {
		t.Helper()
		before := friends(b)
		f := b.TryDo(nil, args...)
		if f == nil || f.Error.Code != code || f.Error.Message == "" {
			t.Errorf("%v: %+v, want %s", args, f, code)
		}
		if after := friends(b); len(after) != len(before) {
			t.Errorf("%v: friends are %+v", args, after)
		}
	}
	refused(brown, "invitation-used", "friend", "accept", link, "--petname", "X")

	// One after the other loses its plug. Each comes back, perhaps at another port, and greets the other, who then knows
	// where it is.
	found := func(by *box.Box, who string) {
		t.Helper()
		within(t, 60*time.Second, who+" is not found", func() error {
			var pong struct{ OK bool }
			if f := by.TryDo(&pong, "peer", "ping", who); f != nil || !pong.OK {
				return fmt.Errorf("%+v", f)
			}
			return nil
		})
	}
	found(smith, "Tom and Jo")
	found(jones, "The Smiths")
	smith.Kill()
	smith.Restart()
	found(jones, "The Smiths")
	jones.Kill()
	jones.Restart()
	found(smith, "Tom and Jo")
	if f := friends(smith); len(f) != 1 || f[0].Name != "Tom and Jo" || f[0].Nickname != "Jones" || fmt.Sprint(f[0].Grants) != "[relay store=10GB]" || f[0].Until == nil || f[0].As_of == nil {
		t.Errorf("Smith has %+v", f)
	}
	if f := friends(jones); len(f) != 1 || f[0].Name != "The Smiths" || f[0].Nickname != "Smith" || fmt.Sprint(f[0].Grants) != "[follow]" {
		t.Errorf("Jones has %+v", f)
	}

	var seen struct {
		Household, Fingerprint, ID, Peer_ID string
		Boxes                               int
		Addresses                           []string
	}
	jones.Do(&seen, "contact", "show")
	if seen.Household != "Jones" || strings.ReplaceAll(seen.Fingerprint, " ", "") != seen.ID || friends(smith)[0].ID != seen.ID || seen.Boxes != 1 || len(seen.Addresses) == 0 {
		t.Errorf("Jones shows %+v", seen)
	}

	refused(jones, "friend-known", "friend", "accept", link, "--petname", "X")
	refused(smith, "own-household", "friend", "accept", link, "--petname", "X")
	refused(brown, "link-invalid", "friend", "accept", link[:len(link)-3], "--petname", "X")
	refused(jones, "petname-taken", "friend", "rename", "The Smiths", "J0NES")
	refused(jones, "grant-unknown", "friend", "grant", "The Smiths", "--grant", "everything")
	refused(jones, "no-friend", "friend", "remove", "Brown")
	id, withdrawn := invite(smith)
	smith.Do(nil, "friend", "withdraw", id)
	refused(brown, "invitation-unknown", "friend", "accept", withdrawn, "--petname", "X")
	_, late := invite(smith)
	smith.Stop()
	refused(brown, "friend-unreachable", "friend", "accept", late, "--petname", "X")
	smith.Restart()
	found(jones, "The Smiths")

	// Removing ends the links at once, and another invitation begins anew.
	smith.Do(nil, "friend", "remove", "tom and jo")
	within(t, 30*time.Second, "Jones is still answered", func() error {
		var pong struct{ OK bool }
		if f := jones.TryDo(&pong, "peer", "ping", "The Smiths"); f == nil {
			return fmt.Errorf("%+v", pong)
		}
		return nil
	})
	refused(jones, "friend-known", "friend", "accept", late, "--petname", "X")
	jones.Do(nil, "friend", "remove", "The Smiths")
	_, again := invite(smith)
	jones.Do(nil, "friend", "accept", again, "--petname", "The Smiths")
	if f := friends(smith); len(f) != 1 || f[0].Name != "Jones" || len(f[0].Grants) != 0 {
		t.Errorf("Smith has %+v", f)
	}
}
