package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"hearth.alt/hwtest/box"
)

// The phones of three people pair from the picture of their code, resolve the box's name through the tunnel and open
// the sign-in page there, over IPv4 and IPv6.
func TestPhonesPairFromThePicture(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"one process": oneProcess, "two processes": twoProcesses} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newSmiths(t, box.Options{Args: args})
			h.invite("Ben", "member")
			h.invite("Gus", "guest")
			for _, who := range []string{"Ann", "Ben", "Gus"} {
				p, _ := h.phone(who, who+"'s phone")
				for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
					for _, network := range []string{"udp", "tcp"} {
						for _, server := range p.Stock.DNS {
							within(t, 10*time.Second, fmt.Sprintf("%s: %s over %s", who, dns.TypeToString[kind], network), func() error {
								_, err := lookup(p.Host, server, network, boxName, kind)
								return err
							})
						}
					}
					if page := h.tunnel(p, kind).get("/signin", 200); !strings.Contains(page, `name="password"`) {
						t.Errorf("%s: the sign-in page is\n%s", who, page)
					}
				}
			}
		})
	}
}
