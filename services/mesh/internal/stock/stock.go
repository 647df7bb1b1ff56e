// Package stock writes the configuration that the official WireGuard apps read, as text, as a picture and as a path
// for a page. It uses only keys that both parsers accept (iOS and Android; any other key is an error there,
// facts/mesh.md 6): PrivateKey, Address, DNS, MTU; PublicKey, AllowedIPs, Endpoint, PersistentKeepalive.
package stock

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"rsc.io/qr"
)

// MTU is what every configuration says, in bytes: 1280, the least with which IPv6 works inside the tunnel (RFC 8200,
// section 5). A smaller one would fit a way that itself carries only 1280, but Linux and Android refuse IPv6
// addresses on it; instead the box keeps TCP's packets at 1,200 (package clamp), which fit such a way with
// WireGuard's 60 or 80 bytes.
const MTU = 1280

// Budget of a QR code that cameras read from a screen: bytes of text, and the least pixels per module.
const (
	MaxQR     = 450
	pixels    = 6
	quietZone = 4 // modules (ISO/IEC 18004, section 5.3.8)
)

// ErrTooLong is returned for a text that would make a code too fine for a phone's camera.
var ErrTooLong = errors.New("the configuration is too long for a QR code")

// Config is one device's configuration.
type Config struct {
	PrivateKey [32]byte       // zero leaves the line out: the app made its own key and keeps it
	Address    []netip.Prefix // the device's own, /32 and /128
	DNS        []netip.Addr   // the box
	Search     string         // domain for short names, "" for none
	BoxKey     [32]byte
	AllowedIPs []netip.Prefix // what goes through the tunnel
	Host       string         // of the box: a name or an address
	Port       uint16
	// Keepalive in seconds, 0 to 65535: 0 leaves it out, which spares the battery; 25 keeps a phone behind a mobile
	// network's address translation reachable from the box while it sleeps.
	Keepalive int
}

// Format writes the text. It refuses values that the apps would not read, and any that could smuggle in a line.
func (c Config) Format() (string, error) {
	var b strings.Builder
	b.WriteString("[Interface]\n")
	if c.PrivateKey != ([32]byte{}) {
		b.WriteString("PrivateKey = " + base64.StdEncoding.EncodeToString(c.PrivateKey[:]) + "\n")
	}
	if len(c.Address) == 0 || len(c.AllowedIPs) == 0 || c.BoxKey == ([32]byte{}) || c.Port == 0 {
		return "", errors.New("a configuration without address, key, port or range")
	}
	if err := list(&b, "Address", c.Address); err != nil {
		return "", err
	}
	if len(c.DNS) > 0 || c.Search != "" {
		var dns []string
		for _, a := range c.DNS {
			if !a.IsValid() || a.Zone() != "" {
				return "", fmt.Errorf("DNS address %s", a)
			}
			dns = append(dns, a.String())
		}
		if c.Search != "" {
			if !name(c.Search) {
				return "", fmt.Errorf("%q is not a domain", c.Search)
			}
			dns = append(dns, c.Search)
		}
		b.WriteString("DNS = " + strings.Join(dns, ", ") + "\n")
	}
	b.WriteString("MTU = " + strconv.Itoa(MTU) + "\n\n[Peer]\nPublicKey = " + base64.StdEncoding.EncodeToString(c.BoxKey[:]) + "\n")
	if err := list(&b, "AllowedIPs", c.AllowedIPs); err != nil {
		return "", err
	}
	if a, err := netip.ParseAddr(c.Host); (err != nil || a.Zone() != "") && !name(c.Host) {
		return "", fmt.Errorf("%q is neither a name nor an address", c.Host)
	}
	b.WriteString("Endpoint = " + net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))) + "\n")
	if c.Keepalive != 0 {
		if c.Keepalive < 0 || c.Keepalive > 65535 {
			return "", fmt.Errorf("keepalive of %d s", c.Keepalive)
		}
		b.WriteString("PersistentKeepalive = " + strconv.Itoa(c.Keepalive) + "\n")
	}
	return b.String(), nil
}

func list(b *strings.Builder, key string, prefixes []netip.Prefix) error {
	for i, p := range prefixes {
		if !p.IsValid() {
			return fmt.Errorf("%s: %s is not a range", key, p)
		}
		if i == 0 {
			b.WriteString(key + " = ")
		} else {
			b.WriteString(", ")
		}
		b.WriteString(p.String())
	}
	b.WriteString("\n")
	return nil
}

// name says whether s is a host name: letters, digits, hyphens and dots (RFC 1123, section 2.1).
func name(s string) bool {
	if len(s) == 0 || len(s) > 253 {
		return false
	}
	for _, label := range strings.Split(s, ".") {
		if len(label) == 0 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-') {
				return false
			}
		}
	}
	return true
}

// code makes the modules: level M, so that a scratch or a reflection on the screen is survived.
func code(text string) (*qr.Code, error) {
	if len(text) > MaxQR {
		return nil, ErrTooLong
	}
	return qr.Encode(text, qr.M)
}

// PNG is the text as a QR code: level M, black on white, a quiet zone of 4 modules, 6 pixels per module. It returns
// ErrTooLong beyond MaxQR bytes.
func PNG(text string) ([]byte, error) {
	c, err := code(text)
	if err != nil {
		return nil, err
	}
	side := (c.Size + 2*quietZone) * pixels
	img := image.NewPaletted(image.Rect(0, 0, side, side), color.Palette{color.White, color.Black})
	for y := range side {
		for x := range side {
			if c.Black(x/pixels-quietZone, y/pixels-quietZone) {
				img.Pix[y*img.Stride+x] = 1
			}
		}
	}
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, img); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Path is the same code as the d of an SVG path, one unit per module, and the side of its view box with the quiet
// zone: <svg viewBox="0 0 side side"><path d="..."/></svg>, black on a white ground.
func Path(text string) (d string, side int, err error) {
	c, err := code(text)
	if err != nil {
		return "", 0, err
	}
	var b strings.Builder
	for y := range c.Size {
		for x := 0; x < c.Size; x++ {
			if !c.Black(x, y) {
				continue
			}
			from := x
			for x < c.Size && c.Black(x, y) {
				x++
			}
			fmt.Fprintf(&b, "M%d %dh%dv1H%dz", from+quietZone, y+quietZone, x-from, from+quietZone)
		}
	}
	return b.String(), c.Size + 2*quietZone, nil
}
