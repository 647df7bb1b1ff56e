package check

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFolders(t *testing.T) {
	got := folders("README.md\nservices/dns/zone.go\nservices/dns/service.go\nimage/testdata/golden/layout.txt\nota/x.md\n")
	want := []string{"./image", "./ota", "./services/dns"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDiffer(t *testing.T) {
	one, two := [32]byte{1}, [32]byte{2}
	got := differ(map[string][32]byte{"same": one, "changed": one, "gone": one}, map[string][32]byte{"same": one, "changed": two, "new": one})
	if diff := cmp.Diff([]string{"changed", "gone", "new"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
