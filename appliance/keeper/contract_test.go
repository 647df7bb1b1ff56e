package keeper_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/wireguard-go/tun"
	"github.com/vishvananda/netlink"

	"hearth.alt/appliance/keeper"
	"hearth.alt/services"
	"hearth.alt/services/firewall"
	"hearth.alt/services/secret"
)

var record = []byte(keeper.RecordDomain + "the rest of it")

// handshake is what TLS 1.3 has side, "client" or "server", sign of a transcript's hash of so many bytes.
func handshake(side string, hash int) []byte {
	return []byte(strings.Repeat(" ", 64) + "TLS 1.3, " + side + " CertificateVerify\x00" + strings.Repeat("h", hash))
}

// tlsKey has the keeper sign for crypto/tls.
type tlsKey struct{ keeper.Keeper }

func (k tlsKey) Public() crypto.PublicKey {
	id := k.PeerID()
	return ed25519.PublicKey(id[:])
}

func (k tlsKey) Sign(_ io.Reader, message []byte, _ crypto.SignerOpts) ([]byte, error) {
	return k.SignHandshake(context.Background(), message)
}

// TestContract runs the whole suite on a Local and on a Client of one.
func TestContract(t *testing.T) {
	t.Run("local", func(t *testing.T) {
		contract(t, func(t *testing.T, cfg keeper.Config) keeper.Keeper { return local(t, cfg) })
	})
	t.Run("over the wire", func(t *testing.T) {
		contract(t, func(t *testing.T, cfg keeper.Config) keeper.Keeper { return remote(t, local(t, cfg)) })
	})
}

func contract(t *testing.T, open func(t *testing.T, cfg keeper.Config) keeper.Keeper) {
	ctx := t.Context()
	fresh := func(t *testing.T) keeper.Keeper { return open(t, config(t.TempDir())) }

	t.Run("info", func(t *testing.T) {
		k := fresh(t)
		i, err := k.Info(ctx)
		want := keeper.Info{PeerID: k.PeerID(), Dev: true, Root: os.Geteuid() == 0, Version: "test"}
		if d := cmp.Diff(want, i); err != nil || d != "" || k.PeerID().IsZero() {
			t.Errorf("%v, PeerID %v (-want +got)\n%s", err, k.PeerID(), d)
		}
	})

	t.Run("records", func(t *testing.T) {
		k := fresh(t)
		id := k.PeerID()
		sig, err := k.SignRecord(ctx, record)
		if err != nil || !ed25519.Verify(id[:], record, sig) {
			t.Errorf("signature does not fit: %v", err)
		}
		for _, m := range [][]byte{nil, []byte("hearth"), []byte("x" + string(record)), append(record, make([]byte, 20<<10)...)} {
			if _, err := k.SignRecord(ctx, m); !errors.Is(err, keeper.ErrNotAllowed) {
				t.Errorf("%d bytes: %v, want ErrNotAllowed", len(m), err)
			}
			if _, err := k.SignWithRoot(ctx, m); !errors.Is(err, keeper.ErrNotAllowed) {
				t.Errorf("%d bytes with root: %v, want ErrNotAllowed", len(m), err)
			}
		}
	})

	t.Run("statements and checkpoints", func(t *testing.T) {
		k := fresh(t)
		id := k.PeerID()
		statement, checkpoint := []byte(keeper.StatementDomain+"the rest of it"), []byte(keeper.CheckpointDomain+"the rest of it")
		for name, c := range map[string]struct {
			sign func(context.Context, []byte) ([]byte, error)
			good []byte
		}{"statement": {k.SignStatement, statement}, "checkpoint": {k.SignCheckpoint, checkpoint}} {
			if sig, err := c.sign(ctx, c.good); err != nil || !ed25519.Verify(id[:], c.good, sig) {
				t.Errorf("%s: signature does not fit: %v", name, err)
			}
			for other, sign := range map[string]func(context.Context, []byte) ([]byte, error){"record": k.SignRecord, "root": k.SignWithRoot, "handshake": k.SignHandshake} {
				if _, err := sign(ctx, c.good); !errors.Is(err, keeper.ErrNotAllowed) {
					t.Errorf("a %s as a %s: %v, want ErrNotAllowed", name, other, err)
				}
			}
			for _, m := range [][]byte{nil, record, handshake("client", 32), statement, checkpoint, append(bytes.Clone(c.good), make([]byte, 20<<10)...)} {
				if _, err := c.sign(ctx, m); !bytes.Equal(m, c.good) && !errors.Is(err, keeper.ErrNotAllowed) {
					t.Errorf("%s, %d bytes: %v, want ErrNotAllowed", name, len(m), err)
				}
			}
		}
	})

	t.Run("handshakes", func(t *testing.T) {
		k := fresh(t)
		id := k.PeerID()
		for _, side := range []string{"client", "server"} {
			for _, hash := range []int{32, 48} {
				m := handshake(side, hash)
				if sig, err := k.SignHandshake(ctx, m); err != nil || !ed25519.Verify(id[:], m, sig) {
					t.Errorf("%s, a hash of %d bytes: %v", side, hash, err)
				}
			}
		}
		good := handshake("client", 32)
		for name, m := range map[string][]byte{
			"a longer hash":       handshake("client", 33),
			"a longer SHA-384":    handshake("server", 49),
			"a shorter hash":      handshake("client", 31),
			"no hash":             handshake("client", 0),
			"63 blanks":           good[1:],
			"65 blanks":           append([]byte(" "), good...),
			"other blanks":        bytes.ReplaceAll(good, []byte(" "), []byte("\t")),
			"another version":     bytes.Replace(good, []byte("1.3"), []byte("1.2"), 1),
			"another side":        handshake("router", 32),
			"no end of the words": bytes.Replace(good, []byte{0}, []byte("h"), 1),
			"only blanks":         bytes.Repeat([]byte(" "), 130),
			"a record":            record,
			"a record before it":  append(bytes.Clone(record), good...),
			"much":                append(bytes.Clone(good), make([]byte, 20<<10)...),
			"nothing":             nil,
		} {
			if sig, err := k.SignHandshake(ctx, m); !errors.Is(err, keeper.ErrNotAllowed) || sig != nil {
				t.Errorf("%s: %v, want ErrNotAllowed", name, err)
			}
		}
		for name, sign := range map[string]func(context.Context, []byte) ([]byte, error){"device": k.SignRecord, "root": k.SignWithRoot} {
			if _, err := sign(ctx, good); !errors.Is(err, keeper.ErrNotAllowed) {
				t.Errorf("a handshake as a record, with the %s: %v, want ErrNotAllowed", name, err)
			}
		}
	})

	t.Run("crypto/tls shakes hands", func(t *testing.T) {
		certificate := func(k keeper.Keeper) []tls.Certificate {
			_, issuer, _ := ed25519.GenerateKey(nil)
			c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}
			der, err := x509.CreateCertificate(nil, c, c, tlsKey{k}.Public(), issuer)
			if err != nil {
				t.Fatal(err)
			}
			return []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: tlsKey{k}}}
		}
		here, there := fresh(t), fresh(t)
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		done := make(chan error, 1)
		go func() {
			done <- tls.Server(a, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: certificate(here), ClientAuth: tls.RequireAnyClientCert}).HandshakeContext(ctx)
		}()
		client := tls.Client(b, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: certificate(there), InsecureSkipVerify: true})
		if err := errors.Join(client.HandshakeContext(ctx), <-done); err != nil {
			t.Fatal(err)
		}
		if id := here.PeerID(); !ed25519.PublicKey(id[:]).Equal(client.ConnectionState().PeerCertificates[0].PublicKey) {
			t.Error("the client met another key")
		}
	})

	t.Run("another device key", func(t *testing.T) {
		cfg := config(t.TempDir())
		k := open(t, cfg)
		before := k.PeerID()
		client, _ := k.ClientKey(ctx)
		for name, id := range map[string]services.PeerID{"nobody": {}, "another": {1}} {
			if err := k.AdoptDevice(ctx, id); !errors.Is(err, keeper.ErrNoNextDevice) {
				t.Errorf("%s, before there is one: %v, want ErrNoNextDevice", name, err)
			}
		}
		next, err := k.NextDevice(ctx)
		if err != nil || next == before || next.IsZero() {
			t.Fatalf("%v, %v", next, err)
		}
		if again, err := k.NextDevice(ctx); err != nil || again != next {
			t.Errorf("a second one was made: %v", err)
		}
		if again, err := open(t, cfg).NextDevice(ctx); err != nil || again != next {
			t.Errorf("it did not wait for the next start: %v", err)
		}
		if err := k.AdoptDevice(ctx, services.PeerID{1}); !errors.Is(err, keeper.ErrNoNextDevice) {
			t.Errorf("another than the one that waits: %v, want ErrNoNextDevice", err)
		}
		if err := k.AdoptDevice(ctx, before); err != nil { // it is so already
			t.Error(err)
		}
		if id := open(t, cfg).PeerID(); id != before {
			t.Errorf("%v before the next key is adopted, want %v", id, before)
		}
		for range 2 {
			if err := k.AdoptDevice(ctx, next); err != nil {
				t.Fatal(err)
			}
		}
		signs := func(k keeper.Keeper, id services.PeerID) {
			t.Helper()
			m := handshake("client", 32)
			proof, err := k.SignHandshake(ctx, m)
			sig, err2 := k.SignRecord(ctx, record)
			if k.PeerID() != id || err != nil || err2 != nil || !ed25519.Verify(id[:], m, proof) || !ed25519.Verify(id[:], record, sig) {
				t.Errorf("%v, %v, %v; want %v and its signatures", k.PeerID(), err, err2, id)
			}
			if i, err := k.Info(ctx); err != nil || i.PeerID != id || len(i.Damaged) > 0 {
				t.Errorf("%+v, %v", i, err)
			}
		}
		signs(k, before) // until it starts again
		later := open(t, cfg)
		signs(later, next)
		if same, err := later.ClientKey(ctx); err != nil || !same.Equal(client) {
			t.Errorf("the phones' key is another: %v", err)
		}
		if err := later.AdoptDevice(ctx, before); !errors.Is(err, keeper.ErrNoNextDevice) {
			t.Errorf("back to the old one: %v, want ErrNoNextDevice", err)
		}
		if third, err := later.NextDevice(ctx); err != nil || third == next || third == before {
			t.Errorf("the one after: %v, %v", third, err)
		}
	})

	t.Run("client key", func(t *testing.T) {
		k := fresh(t)
		a, err := k.ClientKey(ctx)
		b := a.Reveal()
		if err != nil || a.Len() != 32 || b[0]&7 != 0 || b[31]&192 != 64 {
			t.Fatalf("%v: a key of %d bytes, or not clamped", err, a.Len())
		}
		again, _ := k.ClientKey(ctx)
		if !a.Equal(again) {
			t.Error("it is another one the second time")
		}
		clear(again.Reveal())
		if third, _ := k.ClientKey(ctx); !third.Equal(a) {
			t.Error("the caller's copy was the keeper's")
		}
	})

	t.Run("root", func(t *testing.T) {
		k := fresh(t)
		if _, err := k.RootWords(ctx); !errors.Is(err, keeper.ErrNoRoot) {
			t.Errorf("words before the root: %v", err)
		}
		if _, err := k.SignWithRoot(ctx, record); !errors.Is(err, keeper.ErrNoRoot) {
			t.Errorf("signature before the root: %v", err)
		}
		if err := k.EraseRoot(ctx); err != nil {
			t.Errorf("erasing none: %v", err)
		}
		pub, err := k.MakeRoot(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := k.MakeRoot(ctx); err != nil || !pub.Equal(again) {
			t.Errorf("a second one was made: %v", err)
		}
		sig, err := k.SignWithRoot(ctx, record)
		if err != nil || !ed25519.Verify(pub, record, sig) {
			t.Errorf("signature does not fit: %v", err)
		}
		words, err := k.RootWords(ctx)
		if err != nil || len(words) != 24 || words[0].Reveal() == "" {
			t.Errorf("%d words, %v", len(words), err)
		}
		if err := k.EraseRoot(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := k.RootWords(ctx); !errors.Is(err, keeper.ErrNoRoot) {
			t.Errorf("words after erasing: %v", err)
		}
		if next, err := k.MakeRoot(ctx); err != nil || pub.Equal(next) {
			t.Errorf("the erased root came back: %v", err)
		}
	})

	t.Run("next roots", func(t *testing.T) {
		k := fresh(t)
		entropy := func(b byte, n int) secret.Bytes { return secret.NewBytes(bytes.Repeat([]byte{b}, n)) }
		for _, want := range [][]secret.Bytes{nil, {entropy(1, 32)}, {entropy(1, 32), entropy(2, 32)}, {entropy(2, 32)}, nil} {
			if err := k.KeepNextRoots(ctx, want); err != nil {
				t.Fatal(err)
			}
			for _, no := range [][]secret.Bytes{{entropy(3, 31)}, {entropy(3, 0)}, slices.Repeat([]secret.Bytes{entropy(3, 32)}, 5)} {
				if err := k.KeepNextRoots(ctx, no); !errors.Is(err, keeper.ErrInvalid) {
					t.Errorf("%d of them: %v", len(no), err)
				}
			}
			got, err := k.NextRoots(ctx)
			if err != nil || !slices.EqualFunc(got, want, secret.Bytes.Equal) {
				t.Errorf("%d are kept of %d, %v", len(got), len(want), err)
			}
		}
	})

	t.Run("certificates", func(t *testing.T) {
		k := fresh(t)
		digest := sha256.Sum256([]byte("leaf"))
		if _, _, err := k.CACertificates(ctx); !errors.Is(err, keeper.ErrNoCA) {
			t.Errorf("before: %v", err)
		}
		if _, err := k.SignCertificate(ctx, digest[:]); !errors.Is(err, keeper.ErrNoCA) {
			t.Errorf("before: %v", err)
		}
		if err := k.MakeCA(ctx, keeper.CASpec{}); !errors.Is(err, keeper.ErrInvalid) {
			t.Errorf("without a domain: %v", err)
		}
		spec := keeper.CASpec{
			Name: "Smith", Domain: "smith.home.arpa", Label: "hearth", Net4: netip.MustParsePrefix("10.7.3.0/24"), Net6: netip.MustParsePrefix("fd07:1:2::/48"),
			LAN: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}, Now: time.Date(2026, 11, 21, 4, 0, 0, 0, time.UTC),
		}
		if err := k.MakeCA(ctx, spec); err != nil {
			t.Fatal(err)
		}
		other := spec
		other.Domain, other.Now = "mallory.home.arpa", spec.Now.Add(time.Hour)
		for _, again := range []keeper.CASpec{spec, other} { // the first stays
			if err := k.MakeCA(ctx, again); !errors.Is(err, keeper.ErrHaveCA) {
				t.Errorf("an authority in the place of another: %v", err)
			}
			root, intermediate, err := k.CACertificates(ctx)
			if err != nil || !bytes.Equal(root, intermediate) { // as the stand-in makes them
				t.Fatalf("certificates: %v", err)
			}
			c, err := x509.ParseCertificate(intermediate)
			if err != nil || c.DNSNames[0] != spec.Domain || !c.NotBefore.Equal(spec.Now) {
				t.Fatalf("certificate: %v", err)
			}
			sig, err := k.SignCertificate(ctx, digest[:])
			if err != nil || !ecdsa.VerifyASN1(c.PublicKey.(*ecdsa.PublicKey), digest[:], sig) {
				t.Errorf("signature does not fit: %v", err)
			}
		}
		if _, err := k.SignCertificate(ctx, digest[:31]); !errors.Is(err, keeper.ErrInvalid) {
			t.Errorf("short digest: %v", err)
		}
	})

	t.Run("claim, made here", func(t *testing.T) {
		k := fresh(t)
		for range 2 {
			if s, err := k.ClaimSecret(ctx); err != nil || s.Reveal() != claimText {
				t.Errorf("claim secret: %v", err)
			}
		}
		for range 2 {
			if err := k.ForgetClaimSecret(ctx); err != nil {
				t.Error(err)
			}
			if _, err := k.ClaimSecret(ctx); !errors.Is(err, keeper.ErrClaimed) {
				t.Errorf("after forgetting: %v", err)
			}
		}
	})

	t.Run("claim, written by the image", func(t *testing.T) {
		cfg := config(t.TempDir())
		cfg.ClaimFile = filepath.Join(t.TempDir(), "claim")
		var erased atomic.Int32
		cfg.EraseClaim = func() error { erased.Add(1); return nil }
		k := open(t, cfg)
		if _, err := k.ClaimSecret(ctx); !errors.Is(err, keeper.ErrDamagedKey) {
			t.Errorf("no file: %v", err)
		}
		os.WriteFile(cfg.ClaimFile, []byte("short\n"), 0o600)
		if _, err := k.ClaimSecret(ctx); !errors.Is(err, keeper.ErrDamagedKey) {
			t.Errorf("bad file: %v", err)
		}
		os.WriteFile(cfg.ClaimFile, []byte(claimText+"\n"), 0o600)
		if s, err := k.ClaimSecret(ctx); err != nil || s.Reveal() != claimText {
			t.Errorf("claim secret: %v", err)
		}
		if err := k.ForgetClaimSecret(ctx); err != nil || erased.Load() != 1 {
			t.Errorf("forgetting: %v, erased %d times", err, erased.Load())
		}
		if _, err := os.Stat(cfg.ClaimFile); !os.IsNotExist(err) {
			t.Errorf("the image's file is still there: %v", err)
		}
	})

	t.Run("listening", func(t *testing.T) {
		needsRoot(t)
		cfg := config(t.TempDir())
		cfg.Dev, cfg.Device = false, true
		k := open(t, cfg)
		spec := keeper.ListenSpec{Network: keeper.TCP, Address: netip.MustParseAddrPort("127.0.0.1:80")}
		f, err := k.Listen(ctx, spec)
		if err != nil {
			t.Fatal(err)
		}
		ln, err := net.FileListener(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		go func() {
			c, err := ln.Accept()
			if err == nil {
				io.WriteString(c, "hello")
				c.Close()
			}
		}()
		c, err := net.Dial("tcp", "127.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(c); string(b) != "hello" {
			t.Errorf("read %q, %v", b, err)
		}
		c.Close()
		if _, err := k.Listen(ctx, spec); !errors.Is(err, keeper.ErrTaken) {
			t.Errorf("a taken port: %v", err)
		}

		var shared []net.PacketConn
		for range 2 {
			f, err := k.Listen(ctx, keeper.ListenSpec{Network: keeper.UDP, Address: netip.MustParseAddrPort("0.0.0.0:5353"), Shared: true})
			if err != nil {
				t.Fatal(err)
			}
			pc, err := net.FilePacketConn(f)
			f.Close()
			if err != nil {
				t.Fatal(err)
			}
			defer pc.Close()
			shared = append(shared, pc)
		}
		if a := shared[0].LocalAddr().String(); a != "0.0.0.0:5353" {
			t.Errorf("bound to %s", a)
		}

		// "::" is both families, every other IPv6 address its own.
		f, err = k.Listen(ctx, keeper.ListenSpec{Network: keeper.TCP, Address: netip.MustParseAddrPort("[::]:443")})
		if err != nil {
			t.Fatal(err)
		}
		f2, err := net.FileListener(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		defer f2.Close()
		for _, a := range []string{"127.0.0.1:443", "[::1]:443"} {
			c, err := net.Dial("tcp", a)
			if err != nil {
				t.Errorf("dual stack: %v", err)
				continue
			}
			c.Close()
		}

		for name, c := range map[string]struct {
			network keeper.Network
			address string
			want    error
		}{
			"ssh":                   {keeper.TCP, "127.0.0.1:22", keeper.ErrNotAllowed},
			"UDP web":               {keeper.UDP, "127.0.0.1:80", keeper.ErrNotAllowed},
			"high port on a device": {keeper.TCP, "127.0.0.1:8480", keeper.ErrNotAllowed},
			"port 0 on a device":    {keeper.TCP, "127.0.0.1:0", keeper.ErrNotAllowed},
			"another's address":     {keeper.TCP, "192.0.2.1:80", keeper.ErrNoAddress},
			"multicast":             {keeper.UDP, "224.0.0.251:5353", keeper.ErrInvalid},
			"mapped address":        {keeper.TCP, "[::ffff:127.0.0.1]:80", keeper.ErrInvalid},
			"unknown network":       {"unix", "127.0.0.1:80", keeper.ErrInvalid},
		} {
			if _, err := k.Listen(ctx, keeper.ListenSpec{Network: c.network, Address: netip.MustParseAddrPort(c.address)}); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
		}
		if _, err := k.Listen(ctx, keeper.ListenSpec{Network: keeper.TCP}); !errors.Is(err, keeper.ErrInvalid) {
			t.Errorf("no address: %v", err)
		}
	})

	t.Run("listening in development", func(t *testing.T) {
		k := fresh(t)
		for _, n := range []keeper.Network{keeper.TCP, keeper.UDP} {
			f, err := k.Listen(ctx, keeper.ListenSpec{Network: n, Address: netip.MustParseAddrPort("127.0.0.1:0")})
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
		if _, err := k.Listen(ctx, keeper.ListenSpec{Network: keeper.TCP, Address: netip.MustParseAddrPort("127.0.0.1:22")}); !errors.Is(err, keeper.ErrNotAllowed) {
			t.Errorf("ssh: %v", err)
		}
	})

	t.Run("tunnel and firewall", func(t *testing.T) {
		needsRoot(t)
		k := fresh(t)
		spec := keeper.TUNSpec{Name: "hearth0", MTU: 1420, Addresses: []netip.Prefix{netip.MustParsePrefix("10.7.3.1/24"), netip.MustParsePrefix("fd07:1:2::1/48")}}
		first, err := k.OpenTUN(ctx, spec)
		if err != nil {
			t.Fatal(err)
		}
		defer first.File.Close()
		if first.Name != "hearth0" || first.Kept {
			t.Errorf("made: %+v", first)
		}
		spec.MTU, spec.Addresses = 1280, []netip.Prefix{netip.MustParsePrefix("10.7.4.1/24"), spec.Addresses[1]}
		again, err := k.OpenTUN(ctx, spec)
		if err != nil {
			t.Fatal(err)
		}
		if again.Name != first.Name || again.Index != first.Index || !again.Kept {
			t.Errorf("again: %+v, first %+v", again, first)
		}
		link, err := netlink.LinkByName("hearth0")
		if err != nil {
			t.Fatal(err)
		}
		addrs, _ := netlink.AddrList(link, netlink.FAMILY_ALL)
		var got []string
		for _, a := range addrs {
			got = append(got, a.IPNet.String())
		}
		if d := cmp.Diff([]string{"10.7.4.1/24", "fd07:1:2::1/48"}, got); d != "" || link.Attrs().MTU != 1280 || link.Attrs().Flags&net.FlagUp == 0 {
			t.Errorf("MTU %d, flags %v, addresses (-want +got)\n%s", link.Attrs().MTU, link.Attrs().Flags, d)
		}

		for name, s := range map[string]keeper.TUNSpec{
			"another's name": {Name: "eth0", MTU: 1280}, "long name": {Name: "hearth0123456789", MTU: 1280},
			"small MTU": {Name: "hearth0", MTU: 576}, "the world": {Name: "hearth0", MTU: 1280, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")}},
			"a public address": {Name: "hearth0", MTU: 1280, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}},
		} {
			if _, err := k.OpenTUN(ctx, s); !errors.Is(err, keeper.ErrInvalid) {
				t.Errorf("%s: %v, want ErrInvalid", name, err)
			}
		}

		state := firewall.State{
			Device: true, // the keeper knows better
			TUN:    "hearth0", Net4: netip.MustParsePrefix("10.7.4.0/24"), Net6: netip.MustParsePrefix("fd07:1:2::/48"),
			Box4: netip.MustParseAddr("10.7.4.1"), Box6: netip.MustParseAddr("fd07:1:2::1"), Tunnel: firewall.DeviceTunnel(),
			Devices: []firewall.Device{{Addr4: netip.MustParseAddr("10.7.4.9"), Addr6: netip.MustParseAddr("fd07:1:2::9"), Person: "aaaaaaaaaaaaaaaa", Role: services.RoleMember}},
		}
		if err := k.ApplyFirewall(ctx, state); err != nil {
			t.Fatal(err)
		}
		state.Device = false
		if err := firewall.Verify(state); err != nil {
			t.Error(err)
		}
		state.TUN = "hearth9"
		if err := k.ApplyFirewall(ctx, state); !errors.Is(err, keeper.ErrNotAllowed) {
			t.Errorf("an interface that is not the keeper's: %v", err)
		}
		state.TUN = "eth0"
		if err := k.ApplyFirewall(ctx, state); !errors.Is(err, keeper.ErrInvalid) {
			t.Errorf("another's interface: %v", err)
		}

		// The library makes a device of it that uses segmentation: without the right flags it reads one packet at a time.
		fd, err := again.Detach()
		if err != nil {
			t.Fatal(err)
		}
		dev, name, err := tun.CreateUnmonitoredTUNFromFD(fd)
		if err != nil {
			t.Fatal(err)
		}
		defer dev.Close()
		if mtu, err := dev.MTU(); err != nil || mtu != 1280 || name != "hearth0" || dev.BatchSize() < 2 {
			t.Errorf("wireguard-go: %q, MTU %d, batches of %d, %v", name, mtu, dev.BatchSize(), err)
		}
	})

	t.Run("a taken name in development", func(t *testing.T) {
		needsRoot(t)
		one, two := fresh(t), fresh(t)
		spec := keeper.TUNSpec{Name: "hearth0", MTU: 1280}
		a, err := one.OpenTUN(ctx, spec)
		if err != nil {
			t.Fatal(err)
		}
		defer a.File.Close()
		b, err := two.OpenTUN(ctx, spec)
		if err != nil {
			t.Fatal(err)
		}
		defer b.File.Close()
		if a.Name == b.Name || !strings.HasPrefix(b.Name, "hearth") {
			t.Errorf("%q and %q", a.Name, b.Name)
		}
		cfg := config(t.TempDir())
		cfg.Dev, cfg.Device = false, true
		if _, err := open(t, cfg).OpenTUN(ctx, spec); !errors.Is(err, keeper.ErrTaken) {
			t.Errorf("on a device: %v, want ErrTaken", err)
		}
	})

	t.Run("firewall of a device", func(t *testing.T) {
		needsRoot(t)
		cfg := config(t.TempDir())
		cfg.Dev, cfg.Device = false, true
		k := open(t, cfg)
		state := firewall.State{Anywhere: firewall.DeviceAnywhere(), Home: firewall.DeviceHome()}
		if err := k.ApplyFirewall(ctx, state); err != nil {
			t.Fatal(err)
		}
		state.Device = true
		if err := firewall.Verify(state); err != nil {
			t.Errorf("a child that says it is a laptop: %v", err)
		}
		for name, s := range map[string]firewall.State{
			"ssh":               {Home: []firewall.Port{{Proto: firewall.TCP, Port: 22}}},
			"DNS for the world": {Anywhere: []firewall.Port{{Proto: firewall.UDP, Port: 53}}},
		} {
			if err := k.ApplyFirewall(ctx, s); !errors.Is(err, keeper.ErrNotAllowed) {
				t.Errorf("%s: %v, want ErrNotAllowed", name, err)
			}
		}
		if err := firewall.Verify(state); err != nil {
			t.Errorf("a refused state changed something: %v", err)
		}
		if err := firewall.Remove(state); err != nil {
			t.Error(err)
		}
	})

	t.Run("a laptop keeps its name and power", func(t *testing.T) {
		k := fresh(t)
		if err := k.SetHostname(ctx, "hearth"); !errors.Is(err, keeper.ErrNotDevice) {
			t.Errorf("hostname: %v", err)
		}
		if err := k.SetHostname(ctx, "no such name"); !errors.Is(err, keeper.ErrInvalid) {
			t.Errorf("bad hostname: %v", err)
		}
		if err := k.Power(ctx, keeper.Restart); !errors.Is(err, keeper.ErrNotDevice) {
			t.Errorf("power: %v", err)
		}
		if err := k.Power(ctx, "explode"); !errors.Is(err, keeper.ErrInvalid) {
			t.Errorf("bad power: %v", err)
		}
	})

	t.Run("power", func(t *testing.T) {
		cfg := config(t.TempDir())
		cfg.Dev, cfg.Device = false, true
		asked := make(chan keeper.Power, 1)
		cfg.Power = func(p keeper.Power) error { asked <- p; return nil }
		if err := open(t, cfg).Power(ctx, keeper.Off); err != nil {
			t.Fatal(err)
		}
		select {
		case p := <-asked:
			if p != keeper.Off {
				t.Errorf("asked for %q", p)
			}
		case <-time.After(10 * time.Second):
			t.Error("nothing was asked")
		}
	})

	t.Run("machine", func(t *testing.T) {
		m, err := fresh(t).Machine(ctx)
		if err != nil || m.DiskTotal <= 0 || m.DiskFree <= 0 || m.DiskFree > m.DiskTotal || !m.ClockSet {
			t.Errorf("%+v, %v", m, err)
		}
	})

	t.Run("concurrently", func(t *testing.T) {
		k := fresh(t)
		id := k.PeerID()
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				sig, err := k.SignRecord(ctx, record)
				if err != nil || !ed25519.Verify(id[:], record, sig) {
					t.Errorf("signature: %v", err)
				}
			})
			wg.Go(func() {
				f, err := k.Listen(ctx, keeper.ListenSpec{Network: keeper.TCP, Address: netip.MustParseAddrPort("127.0.0.1:0")})
				if err != nil {
					t.Errorf("listen: %v", err)
					return
				}
				f.Close()
			})
			wg.Go(func() {
				if _, err := k.MakeRoot(ctx); err != nil {
					t.Errorf("root: %v", err)
				}
			})
		}
		wg.Wait()
		first, _ := k.MakeRoot(ctx)
		if again, _ := k.MakeRoot(ctx); !first.Equal(again) {
			t.Error("two roots")
		}
	})

	t.Run("errors read the same", func(t *testing.T) {
		k := fresh(t)
		_, err := k.SignRecord(ctx, nil)
		var p *services.Problem
		if !errors.As(err, &p) {
			t.Fatalf("%T is no Problem", err)
		}
		if p.Kind != services.KindDenied || p.Say.Key != "keeper.not-allowed" || p.Say.String() == "" || p.Cause == nil {
			t.Errorf("%+v", p)
		}
	})

	t.Run("a call that nobody waits for", func(t *testing.T) {
		k := fresh(t)
		gone, cancel := context.WithCancel(ctx)
		cancel()
		if f, err := k.Listen(gone, keeper.ListenSpec{Network: keeper.TCP, Address: netip.MustParseAddrPort("127.0.0.1:0")}); err == nil {
			f.Close() // a Local may be faster
		} else if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		if _, err := k.Info(ctx); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

var _ interface {
	SignRecord(context.Context, []byte) ([]byte, error)
	MakeRoot(context.Context) (ed25519.PublicKey, error)
	RootWords(context.Context) ([]secret.Text, error)
	SignWithRoot(context.Context, []byte) ([]byte, error)
	EraseRoot(context.Context) error
	NextRoots(context.Context) ([]secret.Bytes, error)
	KeepNextRoots(context.Context, []secret.Bytes) error
	PeerID() services.PeerID
} = keeper.Keeper(nil)
