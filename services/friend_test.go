package services_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"hearth.alt/services"
)

func TestGrants(t *testing.T) {
	got, err := services.ParseGrants([]string{"follow", "store=1500MB", "relay"})
	want := []services.Grant{{Kind: services.GrantRelay}, {Kind: services.GrantStore, Bytes: 1_500_000_000}, {Kind: services.GrantFollow}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("grants are %v, %v", got, err)
	}
	for in, out := range map[string]string{"store=1000GB": "store=1TB", "store=1500MB": "store=1500MB", "exit": "exit", "store=1000TB": "store=1000TB"} {
		g, err := services.ParseGrant(in)
		if err != nil || g.String() != out || !g.Valid() {
			t.Errorf("%s is read as %s, %v; want %s", in, g, err, out)
		}
	}
	for _, bad := range []string{"", "Relay", "relay ", "store", "store=", "store=0GB", "store=10", "store=10gb", "store=01GB", "store=1001TB", "store=999999999TB", "store=-1GB", "admin"} {
		if g, err := services.ParseGrant(bad); !errors.Is(err, &services.Problem{Code: "grant-unknown"}) {
			t.Errorf("%q is read as %v, %v", bad, g, err)
		}
	}
	if _, err := services.ParseGrants([]string{"store=1GB", "store=2GB"}); !errors.Is(err, &services.Problem{Code: "grant-twice"}) {
		t.Errorf("one kind twice: %v", err)
	}
}

func TestGrantsEnd(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	f := services.Friend{Grants: []services.Grant{{Kind: services.GrantRelay}}, Until: now.Add(services.MaxGrantLife)}
	for after, want := range map[time.Duration]int{0: 1, services.MaxGrantLife - time.Second: 1, services.MaxGrantLife: 0, -48 * time.Hour: 0} {
		if got := f.Granted(now.Add(after)); len(got) != want {
			t.Errorf("%v later: %v", after, got)
		}
	}
}

func FuzzParseGrant(f *testing.F) {
	f.Add("store=10GB")
	f.Add("relay")
	f.Fuzz(func(t *testing.T, text string) {
		g, err := services.ParseGrant(text)
		if err != nil {
			return
		}
		if again, err := services.ParseGrant(g.String()); err != nil || again != g || !g.Valid() {
			t.Fatalf("%q is %v, then %v, %v", text, g, again, err)
		}
	})
}
