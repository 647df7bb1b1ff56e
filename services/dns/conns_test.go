package dns

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// dialFrom opens a TCP connection to the box from an address of loopback.
func dialFrom(t testing.TB, b *box, address string) *dns.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}, Timeout: 5 * time.Second}
	c, err := d.DialContext(t.Context(), "tcp", b.addr)
	if err != nil {
		t.Skipf("needs all of 127.0.0.0/8, as Linux has it: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	return &dns.Conn{Conn: c}
}

func askOn(c *dns.Conn, name string) (string, error) {
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if err := c.WriteMsg(new(dns.Msg).SetQuestion(name, dns.TypeA)); err != nil {
		return "", err
	}
	r, err := c.ReadMsg()
	if err != nil {
		return "", err
	}
	return firstA(r), nil
}

// One host holds all the connections it can get and opens them again as they close; then a host does it from many
// addresses. Nobody else notices.
func TestOneHostDoesNotTakeAllConnections(t *testing.T) {
	for name, address := range map[string]func(i int) string{
		"one address":    func(int) string { return "127.0.0.66" },
		"many addresses": func(i int) string { return fmt.Sprintf("127.0.9.%d", 1+i%200) },
	} {
		t.Run(name, func(t *testing.T) {
			b := runBox(t, Config{Upstreams: []Upstream{}}).ready(t)
			kept := dialFrom(t, b, "127.0.0.67") // in use by somebody else since before
			if got, err := askOn(kept, "kitchen.smith.home.arpa."); got != "10.7.8.1" {
				t.Fatal(got, err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			defer wg.Wait()
			defer cancel()
			var full sync.WaitGroup
			for i := range 300 {
				full.Add(1)
				wg.Go(func() {
					d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address(i))}}
					for first := true; ctx.Err() == nil; first = false {
						c, err := d.DialContext(ctx, "tcp", b.addr)
						if first {
							full.Done()
						}
						if err != nil {
							continue
						}
						stop := context.AfterFunc(ctx, func() { c.Close() })
						_, _ = c.Read(make([]byte, 1)) // until the box closes it
						stop()
						c.Close()
						select {
						case <-ctx.Done():
						case <-time.After(100 * time.Millisecond):
						}
					}
				})
			}
			full.Wait()
			for i := range 20 {
				if got, err := askOn(dialFrom(t, b, "127.0.0.67"), "kitchen.smith.home.arpa."); got != "10.7.8.1" {
					t.Errorf("connection %d of another host: %q, %v", i, got, err)
				}
				if i%4 == 0 && name == "one address" {
					if got, err := askOn(kept, "kitchen.smith.home.arpa."); got != "10.7.8.1" {
						t.Errorf("a connection that was open before: %q, %v", got, err)
					}
				}
			}
		})
	}
}
