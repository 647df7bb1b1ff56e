package keeper

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"hearth.alt/services"
	"hearth.alt/services/durable"
)

// peerOf is the public half of the device key with seed.
func peerOf(seed []byte) services.PeerID {
	return services.PeerID(ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey))
}

// ErrAdopted says that a life of the box ended because AdoptDevice was called: the next one, with a Local of its own, has
// the new device key.
var ErrAdopted = errors.New("the box has another device key")

// outdated says whether the device key is no longer the one that this keeper read.
func (l *Local) outdated() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	seed, err := l.vault.read(fileDevice, ed25519.SeedSize)
	return err == nil && peerOf(seed) != l.PeerID()
}

// NextDevice implements Keeper.
func (l *Local) NextDevice(context.Context) (services.PeerID, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seed, err := l.vault.read(fileNext, ed25519.SeedSize)
	if err != nil {
		if !errors.Is(err, errMissing) {
			l.cfg.Log.Warn("the next device key is damaged, and another is made in its place", "error", err)
		}
		seed = random(ed25519.SeedSize)
		if err := l.vault.write(fileNext, seed); err != nil {
			return services.PeerID{}, err
		}
	}
	return peerOf(seed), nil
}

// AdoptDevice implements Keeper. The rename is the step that counts: before it the box is the old one and the next key
// still waits; after it the box is the new one, and the old key, which got a second name first so that it can be
// overwritten, is erased at the next start if the plug is pulled here.
//
// Crash points: keeper.device.linked, keeper.device.renamed, and those of erase.
func (l *Local) AdoptDevice(_ context.Context, id services.PeerID) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.vault.finishAdopting(); err != nil {
		return err
	}
	if now, err := l.vault.read(fileDevice, ed25519.SeedSize); err == nil && peerOf(now) == id {
		return nil // it was done before
	}
	seed, err := l.vault.read(fileNext, ed25519.SeedSize)
	if errors.Is(err, errMissing) {
		return ErrNoNextDevice
	}
	if err != nil {
		return err
	}
	if waits := peerOf(seed); waits != id {
		return because(ErrNoNextDevice, fmt.Errorf("%v waits, not %v", waits, id))
	}
	if err := l.vault.adoptNext(); err != nil {
		return fmt.Errorf("adopting the next device key: %w", err)
	}
	l.cfg.Log.Info("the box has another device key from its next start on", "peer", id)
	return nil
}

// adoptNext makes the key in fileNext the one in fileDevice and erases the old one.
func (v vault) adoptNext() error {
	if err := os.Link(v.path(fileDevice), v.path(fileOld)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := durable.SyncDir(v.dir); err != nil {
		return err
	}
	durable.Point("keeper.device.linked")
	if err := os.Rename(v.path(fileNext), v.path(fileDevice)); err != nil {
		return err
	}
	if err := durable.SyncDir(v.dir); err != nil {
		return err
	}
	durable.Point("keeper.device.renamed")
	return v.finishAdopting()
}

// finishAdopting erases the device key of before, or takes its second name away when it is still the device key. While
// there is no device key at all it touches nothing.
func (v vault) finishAdopting() error {
	old, err := os.Lstat(v.path(fileOld))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	now, err := os.Lstat(v.path(fileDevice))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if os.SameFile(old, now) {
		return durable.Remove(v.path(fileOld))
	}
	return v.erase(fileOld)
}
