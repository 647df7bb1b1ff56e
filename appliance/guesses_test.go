package appliance

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestGuessesSlowDownOneAddressOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g guesses
		for range freeTries - 1 {
			g.Wrong("192.0.2.7:1234")
		}
		if w := g.Wait("192.0.2.7:9"); w != 0 {
			t.Errorf("after %d wrong tries: wait %v, want none", freeTries-1, w)
		}
		for want := time.Second; want < longestWait; want *= 2 {
			g.Wrong("192.0.2.7:1234")
			if w := g.Wait("192.0.2.7:1"); w != want {
				t.Errorf("wait %v, want %v", w, want)
			}
			time.Sleep(want)
			if w := g.Wait("192.0.2.7:1"); w != 0 {
				t.Errorf("it may try again, and is told to wait %v", w)
			}
		}
		for range 1000 {
			g.Wrong("192.0.2.7:1234")
		}
		if w := g.Wait("192.0.2.7:1"); w != longestWait {
			t.Errorf("wait %v, want the longest, %v", w, longestWait)
		}
		if w := g.Wait("192.0.2.8:1"); w != 0 {
			t.Errorf("another address waits %v", w)
		}
		g.Wrong("[2001:db8::1]:7")
		if machine("[2001:db8::1]:7") != machine("[2001:db8::2]:7") {
			t.Error("two addresses of one IPv6 /64 count apart")
		}
		for i := range 3 * mostSources {
			g.Wrong(fmt.Sprintf("10.%d.%d.1:1", i/256, i%256))
		}
		if len(g.from) > mostSources {
			t.Errorf("%d addresses are kept", len(g.from))
		}
	})
}

func TestNeighboursAreNotTheInternet(t *testing.T) {
	n := &neighbours{looked: time.Now(), home: home{networks: []netip.Prefix{netip.MustParsePrefix("2001:db8:7::/64"), netip.MustParsePrefix("198.51.100.0/24")}}}
	for text, want := range map[string]bool{
		"192.168.1.7": true, "10.77.0.2": true, "127.0.0.1": true, "fe80::1": true, "fd00::1": true, "2001:db8:7::9": true, "198.51.100.4": true,
		"203.0.113.9": false, "2001:db8:5::9": false, "8.8.8.8": false,
	} {
		if got := n.have(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}
