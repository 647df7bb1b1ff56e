package identity_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/services/identity/identitytest"
	"hearth.alt/services/secret"
)

// hand has two boxes hand on what new words take until what is called.
func hand(t *testing.T, a, b *identitytest.Claimed) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	x, y := net.Pipe()
	ended := make(chan error, 2)
	go func() { ended <- a.ServeNextRoot(ctx, b.Keys.PeerID(), x) }()
	go func() { ended <- b.ServeNextRoot(ctx, a.Keys.PeerID(), y) }()
	return func() {
		cancel()
		x.Close()
		y.Close()
		<-ended
		<-ended
	}
}

// New words can be made on a box that joined, and after that on the first again; what was used is dropped everywhere.
func TestNextRootIsHandedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		study := identitytest.Household(t)
		attic := identitytest.Joined(t, study, "Attic")
		words := wordsOf(t, study)
		_, err := attic.NewWords(t.Context(), words)
		wantCode(t, err, "words-elsewhere")
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- study.Run(ctx) }()
		stop := hand(t, study, attic)
		synctest.Wait()
		fresh := newWords(t, attic.Service, words)
		if err := attic.ReplaceWords(t.Context(), words, fresh); err != nil {
			t.Fatal(err)
		}
		share(t, attic.Service, study.Service)
		time.Sleep(2 * time.Second) // the pause between two frames
		synctest.Wait()
		if _, err := study.Keys.RootWords(t.Context()); study.WordsPending() || err == nil {
			t.Error("the former words, which were never confirmed, are still shown")
		}
		if err := study.ReplaceWords(t.Context(), fresh, newWords(t, study.Service, fresh)); err != nil {
			t.Fatal(err)
		}
		share(t, study.Service, attic.Service)
		agree(t, study.Service, attic.Service)
		stop()
		cancel()
		<-ran
		wantCode(t, attic.CheckWords(t.Context(), fresh), "words-former")
	})
}

// It is handed on to boxes of the household only, only what is announced is, and nothing else is taken.
func TestNextRootIsKeptFromOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		study := identitytest.Household(t)
		attic := identitytest.Joined(t, study, "Attic")
		kept, _ := study.Keys.NextRoots(t.Context())
		hash := announced(kept[0])
		ask := func(peer services.PeerID, kind byte, what [32]byte) int {
			t.Helper()
			ctx, cancel := context.WithCancel(t.Context())
			x, y := net.Pipe()
			ended, got := make(chan error, 1), make(chan int, 1)
			go func() { ended <- study.ServeNextRoot(ctx, peer, x) }()
			if _, err := y.Write(append([]byte{kind}, what[:]...)); err != nil {
				t.Fatal(err)
			}
			go func() {
				n, _ := y.Read(make([]byte, 64))
				got <- n
			}()
			synctest.Wait()
			cancel()
			y.Close()
			x.Close()
			<-ended
			return <-got
		}
		if n := ask(attic.Keys.PeerID(), 1, hash); n != 33 {
			t.Errorf("a box of the household got %d bytes", n)
		}
		if n := ask(attic.Keys.PeerID(), 1, [32]byte{1}); n != 0 {
			t.Errorf("for another hash it got %d bytes", n)
		}
		if n := ask(identitytest.NewKeys("stranger").PeerID(), 1, hash); n != 0 {
			t.Errorf("a stranger got %d bytes", n)
		}
		ask(attic.Keys.PeerID(), 2, [32]byte{1})
		if now, _ := study.Keys.NextRoots(t.Context()); len(now) != 1 || !now[0].Equal(kept[0]) {
			t.Errorf("%d are kept", len(now))
		}
		if err := study.RemoveBox(t.Context(), attic.Keys.PeerID()); err != nil {
			t.Fatal(err)
		}
		if n := ask(attic.Keys.PeerID(), 1, hash); n != 0 {
			t.Errorf("a removed box got %d bytes", n)
		}
	})
}

// announced is what a log announces of the root.
func announced(entropy secret.Bytes) [32]byte {
	root := identity.RootFromEntropy([identity.EntropySize]byte(entropy.Reveal()))
	return sha256.Sum256(root.Public().(ed25519.PublicKey))
}
