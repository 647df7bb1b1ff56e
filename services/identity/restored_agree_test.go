package identity_test

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	"hearth.alt/services/identity"
)

// A box that was brought back says nothing in a dispute, either, before it has heard from another: it would say it with a
// sequence that it used before, which proves it a clone.
func TestRestoredBoxAgreesLater(t *testing.T) {
	boxes, ann, ben, eve, _ := divided(t)
	study := boxes[0]
	backup := snapshot(t, study.Service)
	say(t, study, eve, ann)
	shareAll(t, boxes)

	fresh, err := identity.New(identity.Config{Dir: filepath.Join(t.TempDir(), "identity"), Keys: study.Keys, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := fresh.Restore(t.Context(), bytes.NewReader(backup)); err != nil {
		t.Fatal(err)
	}
	ctx := identity.Acting(t.Context(), eve, "")
	_, err = fresh.Agree(ctx, []identity.Subject{{Person: ben}})
	wantCode(t, err, "catch-up")
	share(t, fresh, boxes[1].Service)
	if d, err := boxes[1].Dispute(); err != nil || len(d.Forked) > 0 {
		t.Errorf("the box is taken for a clone: %v, %v", d.Forked, err)
	}
}
