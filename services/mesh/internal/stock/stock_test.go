package stock

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"image"
	"image/png"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"hearth.alt/hwtest/netlab"
)

func typical() Config {
	c := Config{
		Address:    []netip.Prefix{netip.MustParsePrefix("10.211.54.7/32"), netip.MustParsePrefix("fdf3:9a1c:27b4::7/128")},
		DNS:        []netip.Addr{netip.MustParseAddr("10.211.54.1"), netip.MustParseAddr("fdf3:9a1c:27b4::1")},
		Search:     "lindqvist-moreau.home.arpa",
		AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.211.54.0/24"), netip.MustParsePrefix("fdf3:9a1c:27b4::/48"), netip.MustParsePrefix("192.168.178.0/24")},
		Host:       "2001:db8:1234:5678:abcd:ef01:2345:6789",
		Port:       51820,
	}
	rand.Read(c.PrivateKey[:])
	rand.Read(c.BoxKey[:])
	return c
}

// What is written is what a strict reader of the official format understands.
func TestFormatIsWhatAppsRead(t *testing.T) {
	c := typical()
	text, err := c.Format()
	if err != nil {
		t.Fatal(err)
	}
	s, err := netlab.ParseStock(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	p := s.Peers[0]
	if s.PrivateKey != c.PrivateKey || !slices.Equal(s.Address, c.Address) || !slices.Equal(s.DNS, c.DNS) || s.Search[0] != c.Search || s.MTU != 1280 ||
		p.PublicKey != c.BoxKey || !slices.Equal(p.AllowedIPs, c.AllowedIPs) || p.EndpointHost != c.Host || p.EndpointPort != c.Port || p.Keepalive != 0 {
		t.Errorf("read as %+v\n%s", s, text)
	}
	if len(text) > MaxQR {
		t.Errorf("%d bytes", len(text))
	}
	t.Logf("%d bytes", len(text))
	c.PrivateKey = [32]byte{}
	if text, err = c.Format(); err != nil || strings.Contains(text, "PrivateKey") {
		t.Errorf("without a private key: %v\n%s", err, text)
	}
}

func TestFormatRefuses(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"a line in the host":   func(c *Config) { c.Host = "a\nPostUp = x" },
		"a line in the domain": func(c *Config) { c.Search = "a\nMTU = 9000" },
		"a list in the domain": func(c *Config) { c.Search = "a, 1.1.1.1" },
		"a zone":               func(c *Config) { c.Host = "fe80::1%eth0" },
		"no host":              func(c *Config) { c.Host = "" },
		"no port":              func(c *Config) { c.Port = 0 },
		"no address":           func(c *Config) { c.Address = nil },
		"no range":             func(c *Config) { c.AllowedIPs = nil },
		"a broken range":       func(c *Config) { c.AllowedIPs = append(c.AllowedIPs, netip.Prefix{}) },
		"no key":               func(c *Config) { c.BoxKey = [32]byte{} },
		"keepalive":            func(c *Config) { c.Keepalive = -1 },
	} {
		c := typical()
		change(&c)
		if text, err := c.Format(); err == nil || text != "" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}

func FuzzFormat(f *testing.F) {
	f.Add("box.example.org", "smith.home.arpa", uint16(51820), 25)
	f.Add("192.0.2.1", "", uint16(1), 0)
	f.Fuzz(func(t *testing.T, host, search string, port uint16, keepalive int) {
		c := typical()
		c.Host, c.Search, c.Port, c.Keepalive = host, search, port, keepalive
		text, err := c.Format()
		if err != nil {
			if text != "" {
				t.Fatal("half-built")
			}
			return
		}
		s, err := netlab.ParseStock(text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if p := s.Peers[0]; p.EndpointHost != host || p.EndpointPort != port || p.Keepalive != keepalive || len(s.Peers) != 1 || len(p.AllowedIPs) != 3 {
			t.Fatalf("read as %+v\n%s", s, text)
		}
	})
}

func scan(t *testing.T, file string) string {
	t.Helper()
	if _, err := exec.LookPath("zbarimg"); err != nil {
		t.Skip("zbarimg is not there; run: sudo apt-get install -y zbar-tools && go test ./services/mesh/internal/stock")
	}
	out, err := exec.CommandContext(t.Context(), "zbarimg", "--raw", "--quiet", "-Sdisable", "-Sqrcode.enable", file).Output()
	if err != nil {
		t.Fatalf("zbarimg: %v", err)
	}
	return string(out)
}

func TestPNGIsScannable(t *testing.T) {
	for _, host := range []string{"192.168.1.2", typical().Host, strings.Repeat("a", 40) + ".example.org"} {
		c := typical()
		c.Host = host
		text, err := c.Format()
		if err != nil {
			t.Fatal(err)
		}
		b, err := PNG(text)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "code.png")
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := scan(t, file); got != text+"\n" {
			t.Errorf("scanned as %q", got)
		}
		img, _ := png.Decode(bytes.NewReader(b))
		side := img.Bounds().Dx()
		if modules := side/pixels - 2*quietZone; (modules-17)%4 != 0 || (modules-17)/4 > 16 {
			t.Errorf("%d bytes make %d modules", len(text), modules)
		}
		for i := range quietZone * pixels {
			for _, at := range []image.Point{{i, side / 2}, {side - 1 - i, side / 2}, {side / 2, i}, {side / 2, side - 1 - i}} {
				if img.At(at.X, at.Y) != img.At(0, 0) {
					t.Fatalf("the quiet zone is not quiet at %s", at)
				}
			}
		}
	}
	if _, err := PNG(strings.Repeat("a", MaxQR+1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("too long: %v", err)
	}
}

// The path draws the very same modules: drawn by hand here, scanned like the picture.
func TestPathIsScannable(t *testing.T) {
	text, err := typical().Format()
	if err != nil {
		t.Fatal(err)
	}
	d, side, err := Path(text)
	if err != nil {
		t.Fatal(err)
	}
	const px = 5
	img := image.NewGray(image.Rect(0, 0, side*px, side*px))
	for i := range img.Pix {
		img.Pix[i] = 255
	}
	step := regexp.MustCompile(`M(\d+) (\d+)h(\d+)v1H(\d+)z`)
	if rest := step.ReplaceAllString(d, ""); rest != "" {
		t.Fatalf("the path has more: %.50q", rest)
	}
	for _, m := range step.FindAllStringSubmatch(d, -1) {
		var x, y, w int
		fmt.Sscan(m[1], &x)
		fmt.Sscan(m[2], &y)
		fmt.Sscan(m[3], &w)
		for i := y * px; i < (y+1)*px; i++ {
			for j := x * px; j < (x+w)*px; j++ {
				img.Pix[i*img.Stride+j] = 0
			}
		}
	}
	file := filepath.Join(t.TempDir(), "path.png")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	png.Encode(f, img)
	f.Close()
	if got := scan(t, file); got != text+"\n" {
		t.Errorf("scanned as %q", got)
	}
	t.Logf("path of %d bytes", len(d))
}
