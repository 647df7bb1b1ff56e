package appliance

import (
	"os"
	"path/filepath"
	"testing"
)

// The keeper opens the lock as root where its child may write: a link there made it open, or make, any file.
func TestLockFollowsNoLink(t *testing.T) {
	state, target := t.TempDir(), filepath.Join(t.TempDir(), "made")
	if err := os.Symlink(target, filepath.Join(state, "lock")); err != nil {
		t.Fatal(err)
	}
	unlock, err := lock(state)
	if err != nil {
		t.Fatalf("a link keeps the box from starting: %v", err)
	}
	defer unlock()
	if _, err := os.Lstat(target); err == nil {
		t.Error("the file behind the link was made")
	}
}
