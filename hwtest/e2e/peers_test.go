package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth.alt/appliance/keeper"
	"hearth.alt/hwtest/box"
	"hearth.alt/hwtest/netlab"
	"hearth.alt/services"
	"hearth.alt/services/link"
	"hearth.alt/services/secret"
)

// Whoever answers at a box's address is nobody without its key, and who has the key is found wherever it is.
func TestWrongKeyAtRightAddress(t *testing.T) {
	t.Parallel()
	v := newVillage(t)
	boxes, _ := v.smiths("Attic")
	study, attic := boxes[0], boxes[1]
	jones := v.box(v.lan, "jones")
	jones.ClaimFor("Jones", "Hall", "Tom")
	jones.up()

	// The Joneses' box stands where the attic's was, and nobody tells anybody.
	before, theirs := study.known(), jones.known()
	attic.Stop()
	jones.Stop()
	jones.host, attic.host, jones.at, attic.at = attic.host, jones.host, attic.at, jones.at
	jones.startAgain()
	within(t, 30*time.Second, "the Joneses' box is not met", func() error {
		if _, refused := study.ping("Attic"); refused != "wrong-peer" {
			return errors.New("a ping is refused with " + refused)
		}
		return nil
	})
	if names, refused := study.speaks("Attic"); refused == "" {
		t.Errorf("it speaks %q", names)
	}
	if _, refused := jones.ping(study.peerID()); refused == "" {
		t.Error("the Joneses' box links to the study")
	}
	if study.boxes()["Attic"].Linked {
		t.Error("the study takes it for the attic")
	}
	study.add("Ben", "member")
	if got := jones.known(); got != theirs || before == theirs {
		t.Errorf("the Joneses' box knows\n%s", got)
	}

	// The attic comes back where the other was before.
	attic.startAgain()
	attic.knows("Ben", true)
	if path, refused := study.ping("Attic"); refused != "" || !strings.Contains(path, attic.at.String()+":") && !strings.Contains(path, "[fd00:1::") {
		t.Errorf("the attic is met at %q, %q", path, refused)
	}

	// Both have the other's address now. Nobody else knows them; what they announce at home has to do.
	study.Stop()
	attic.Stop()
	study.host, attic.host, study.at, attic.at = attic.host, study.host, attic.at, study.at
	study.startAgain()
	attic.startAgain()
	attic.add("Cleo", "member")
	study.knows("Cleo", true)
	v.agree(study, attic)
}

const linkPort = 41820

// player speaks the protocol of links from the test's own process, as the box whose key it has.
type player struct {
	*link.Service
	self services.PeerID
}

// tcpOnly is an address of this machine at which TCP, and nothing else, leads from a host to the address.
func tcpOnly(t *testing.T, from *netlab.Host, to netip.AddrPort) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := from.Dial(t.Context(), "tcp", to.String())
			if err != nil {
				near.Close()
				continue
			}
			for _, c := range [][2]net.Conn{{near, far}, {far, near}} {
				go func() {
					io.Copy(c[0], c[1])
					c[0].Close()
				}()
			}
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

type signer func(ctx context.Context, message []byte) ([]byte, error)

// play has somebody with the key speak links on a host, who takes the address to for everybody's.
func play(t *testing.T, on *netlab.Host, self services.PeerID, sign signer, to netip.AddrPort, protocols ...link.Protocol) *player {
	t.Helper()
	hears := "[::]:41820"
	if to.Addr().IsLoopback() { // over TCP alone: the other is not to come by UDP first
		hears = "[::]:41821"
	}
	s, err := link.New(link.Config{
		Self: self, Sign: sign, Now: time.Now, Protocols: protocols,
		UDP:   func() (net.PacketConn, error) { return on.ListenPacket("udp", hears) },
		TCP:   func() (net.Listener, error) { return on.Listen("tcp", "[::]:41820") },
		Paths: func(services.PeerID) []netip.AddrPort { return []netip.AddrPort{to} },
		Knows: func(services.PeerID) bool { return true },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	within(t, 10*time.Second, "links do not run", func() error {
		if !s.Health().Ready {
			return errors.New(s.Health().Message.String())
		}
		return nil
	})
	return &player{s, self}
}

// stranger is a key that belongs to nobody.
func stranger(t *testing.T) (services.PeerID, signer) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return services.PeerID(public), func(_ context.Context, message []byte) ([]byte, error) { return ed25519.Sign(private, message), nil }
}

// keeperOf is a keeper of a box's keys, beside its own.
func keeperOf(t *testing.T, b *box.Box) *keeper.Local {
	t.Helper()
	k, err := keeper.NewLocal(keeper.Config{
		State: b.State, Log: slog.New(slog.DiscardHandler),
		Root: func([32]byte) ed25519.PrivateKey { return nil }, Words: func([32]byte) []secret.Text { return nil },
		Authority: func(keeper.CASpec) (_, _ []byte, _ *ecdsa.PrivateKey, err error) { return },
		NewClaim:  func() string { return "" }, CheckClaim: func(string) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

// A real box chooses by the order of who opens, among what both speak with one another; who has nothing to speak with it
// is told so. That a list which was changed on its way is found out is TestStrippedProposal in services/link.
func TestNegotiation(t *testing.T) {
	t.Parallel()
	v := newVillage(t)
	boxes, _ := v.smiths("Attic")
	study, attic := boxes[0], boxes[1]
	asked, err := services.ParsePeerID(study.peerID())
	if err != nil {
		t.Fatal(err)
	}
	attic.Stop()
	k := keeperOf(t, attic.Box)
	self, sign := k.PeerID(), k.SignHandshake
	for _, carrier := range []string{"udp", "tcp"} {
		t.Run("a box of the household over "+carrier, func(t *testing.T) {
			ours := link.Protocol{Name: "/chess/v1", Serve: func(context.Context, *link.Stream) error { return nil }}
			to := netip.AddrPortFrom(study.at, linkPort)
			if carrier == "tcp" {
				to = tcpOnly(t, attic.host, to)
			}
			p := play(t, attic.host, self, sign, to, ours)
			for _, c := range []struct {
				what     string
				proposed []string
				chosen   string // "" is refused
			}{
				{"disjoint", []string{"/chess/v1", "/go/v3"}, ""},
				{"disjoint by the version alone", []string{"/identity/log/v2", "/link/ping/v9"}, ""},
				{"overlapping", []string{"/chess/v1", addressProtocol, "/go/v3", pingProtocol}, addressProtocol},
				{"the other way round", []string{pingProtocol, "/go/v3", addressProtocol, "/chess/v1"}, pingProtocol},
				{"a later version that only the opener has", []string{"/link/ping/v2", pingProtocol}, pingProtocol},
				{"later versions before and after", []string{"/link/ping/v2", pingProtocol, "/link/ping/v3"}, pingProtocol},
				{"what is for others", []string{"/identity/farewell/v1"}, ""},
				{"what is for others, first", []string{"/identity/farewell/v1", logProtocol}, logProtocol},
			} {
				st, err := p.Open(limit(t, 20*time.Second), asked, c.proposed...)
				var refused *link.RefusedError
				switch {
				case c.chosen == "":
					if !errors.As(err, &refused) || refused.Code != link.RefusedUnknown {
						t.Errorf("%s: %v", c.what, err)
					}
				case err != nil || st.Protocol() != c.chosen || st.Path().Via != carrier:
					t.Errorf("%s: %+v, %v", c.what, st, err)
				}
				if st != nil {
					st.Cancel()
				}
			}
			// And the real box sees what the other speaks, though it has nothing in common with it but a ping.
			within(t, 20*time.Second, "what the other speaks", func() error {
				if names, refused := study.speaks("Attic"); !slices.Equal(names, []string{"/chess/v1", pingProtocol}) {
					return errors.New(strings.Join(names, " ") + refused)
				}
				return nil
			})
		})
	}
	t.Run("a stranger", func(t *testing.T) {
		self, sign := stranger(t)
		p := play(t, attic.host, self, sign, netip.AddrPortFrom(study.at, linkPort))
		for _, names := range [][]string{{logProtocol}, {pingProtocol}, {addressProtocol}, {"/identity/farewell/v1"}, {logProtocol, addressProtocol, pingProtocol, credentialProtocol}} {
			st, err := p.Open(limit(t, 20*time.Second), asked, names...)
			var refused *link.RefusedError
			if !errors.As(err, &refused) || refused.Code != link.RefusedUnknown {
				t.Errorf("%q: %v", names, err)
			}
			if st != nil {
				st.Cancel()
			}
		}
		if before := study.boxes()["Attic"]; before.Linked {
			t.Error("the stranger is taken for the attic")
		}
	})
	attic.Restart()
	v.agree(boxes...)
}
