// Package readme keeps the table of boards in the repository's README.md in step with boards/README.md, which the
// boards' data writes: what is proven of each board, and what is not.
package readme

//go:generate go run ../cmd/readme

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// The lines between which the table stands.
const (
	begin = "<!-- boards: filled by make generate from boards/README.md -->\n"
	end   = "<!-- boards: end -->\n"
)

// The columns are the levels of boards.Level, surest first.
var levels = []string{"proven in QEMU", "by model", "not proven"}

var (
	board = regexp.MustCompile(`^## ([a-z0-9]+): (.+)$`)
	claim = regexp.MustCompile(`^- \*([^*]+)\*: (.+)$`)
)

// Fill returns readme with the table made from the text of boards/README.md.
func Fill(readme, boards string) (string, error) {
	head, rest, ok := strings.Cut(readme, begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return "", errors.New("README.md has lost the lines around its table of boards")
	}
	var b strings.Builder
	b.WriteString("| board | " + strings.Join(levels, " | ") + " |\n|---|---|---|---|\n")
	name, claims, rows := "", map[string][]string{}, 0
	row := func() {
		if name == "" {
			return
		}
		b.WriteString("| " + name)
		for _, l := range levels {
			b.WriteString(" | " + strings.ReplaceAll(strings.Join(claims[l], "; "), "|", `\|`))
		}
		b.WriteString(" |\n")
		rows++
	}
	for _, l := range strings.Split(boards, "\n") {
		if m := board.FindStringSubmatch(l); m != nil {
			row()
			name, claims = "**"+m[1]+"** "+m[2], map[string][]string{}
		}
		if m := claim.FindStringSubmatch(l); m != nil {
			claims[m[1]] = append(claims[m[1]], m[2])
		}
	}
	row()
	if rows == 0 {
		return "", fmt.Errorf("boards/README.md names no board")
	}
	return head + begin + b.String() + end + tail, nil
}
