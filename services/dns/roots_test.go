package dns

import (
	"crypto/x509"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// On the image no file lists the authorities: those that come with the program judge, once an upstream is asked by TLS.
func TestBundledRoots(t *testing.T) {
	if os.Getenv("HEARTH_TEST_NO_ROOTS") == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBundledRoots$", "-test.count=1", "-test.v")
		cmd.Env = append(os.Environ(), "HEARTH_TEST_NO_ROOTS=1", "SSL_CERT_FILE=/nowhere", "SSL_CERT_DIR=/nowhere")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "authorities judge") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	good := 0
	judge := func() {
		good = 0
		for root := range bundle.Roots() {
			if c, err := x509.ParseCertificate(root.Certificate); err == nil && root.Constraint == nil {
				if _, err := c.Verify(x509.VerifyOptions{CurrentTime: c.NotBefore.Add(time.Hour)}); err == nil {
					good++
				}
			}
		}
	}
	if judge(); good != 0 {
		t.Fatalf("%d authorities judge already", good)
	}
	// Asking by TLS without an authority of one's own is what brings them; nobody listens there.
	e := newEndpoint(Upstream{Name: "dns.example"}, 0, netip.MustParseAddrPort("127.0.0.1:9"), nil, nil)
	defer e.asker.close()
	if _, err := e.asker.ask(t.Context(), make([]byte, 12)); err == nil {
		t.Error("somebody answers")
	}
	if judge(); good < 50 {
		t.Fatalf("%d authorities judge, want a world's", good)
	}
	t.Logf("%d authorities judge", good)
}
