package appliance_test

import (
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"
)

// Only process 1, the laboratory's too, links gokrazy: importing it starts a goroutine that wakes every second, and
// the hearth program runs twice on each box.
func TestOnlyProcessOneLinksGokrazy(t *testing.T) {
	may := []string{"appliance/cmd/init", "hwtest/vm/hello/init"}
	seen := 0
	for _, s := range sources(t, token.NewFileSet(), parser.ImportsOnly) {
		for _, i := range s.file.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if p != "github.com/gokrazy/gokrazy" {
				continue
			}
			if seen++; !slices.Contains(may, s.folder) {
				t.Errorf("%s imports gokrazy; only %v do, and hand in what others need", s.path, may)
			}
		}
	}
	if seen == 0 {
		t.Error("nobody imports gokrazy; this test looks for the wrong path")
	}
}
