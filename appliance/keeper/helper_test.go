package keeper_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/tyler-smith/go-bip39"
	"github.com/vishvananda/netlink"

	"hearth.alt/appliance/keeper"
	"hearth.alt/services/secret"
)

// TestMain moves the tests into a network namespace of their own when they run as root: low ports, interfaces and nft
// tables are then nobody else's. The same program is also the keeper and the child of the process tests (KEEPER_PLAY).
func TestMain(m *testing.M) {
	if play := os.Getenv("KEEPER_PLAY"); play != "" {
		os.Exit(plays[play]())
	}
	flag.Parse()
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	if os.Getenv("KEEPER_NAMESPACE") == "" {
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Env = append(os.Environ(), "KEEPER_NAMESPACE=1")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		err := cmd.Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			os.Exit(max(exit.ExitCode(), 1))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if lo, err := netlink.LinkByName("lo"); err == nil {
		netlink.LinkSetUp(lo)
	}
	os.Exit(m.Run())
}

func needsRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: sudo go test ./appliance/keeper/")
	}
}

const claimText = "7QK4-M2VX-9TRD-HC6P"

// config stands in for identity, certificate and claimcode.
func config(state string) keeper.Config {
	return keeper.Config{
		State: state, Version: "test", Dev: true, Log: slog.New(slog.DiscardHandler),
		Root: func(e [32]byte) ed25519.PrivateKey {
			seed, err := hkdf.Key(sha256.New, e[:], nil, "test root", 32)
			if err != nil {
				panic(err)
			}
			return ed25519.NewKeyFromSeed(seed)
		},
		Words: func(e [32]byte) (out []secret.Text) {
			text, err := bip39.NewMnemonic(e[:])
			if err != nil {
				panic(err)
			}
			for w := range strings.FieldsSeq(text) {
				out = append(out, secret.NewText(w))
			}
			return out
		},
		Authority: func(s keeper.CASpec) ([]byte, []byte, *ecdsa.PrivateKey, error) {
			if s.Domain == "" {
				return nil, nil, nil, errors.New("no domain")
			}
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				return nil, nil, nil, err
			}
			c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: s.Now, NotAfter: s.Now.AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true, DNSNames: []string{s.Domain}}
			der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
			return append([]byte{}, der...), der, key, err
		},
		NewClaim: func() string { return claimText },
		CheckClaim: func(s string) error {
			if len(s) != len(claimText) {
				return fmt.Errorf("%d letters", len(s))
			}
			return nil
		},
	}
}

func local(t testing.TB, cfg keeper.Config) *keeper.Local {
	t.Helper()
	l, err := keeper.NewLocal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// remote serves l on a pair of sockets and returns the client.
func remote(t testing.TB, l keeper.Keeper) *keeper.Client {
	t.Helper()
	ours, theirs, err := keeper.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- keeper.Serve(context.Background(), ours, l, slog.New(slog.DiscardHandler)) }()
	c, err := keeper.Dial(context.Background(), theirs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return c
}
