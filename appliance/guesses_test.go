package appliance

import (
	"fmt"
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
		if source("[2001:db8::1]:7") != source("[2001:db8::2]:7") {
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
