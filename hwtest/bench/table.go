package bench

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Place is where and when figures were taken.
type Place struct {
	Date   time.Time
	Commit string // short, with "+" behind it when the tree held changes
	Load   string // of the machine before the suite began: "0.21"
}

var heads = []string{"what", "median (least to most)", "peer", "ratio", "budget", "verdict", "date", "commit", "load"}

const about = `# Figures

` + "`make bench`" + ` writes this page; package hwtest/bench says how. A figure is the median of its samples, with the least and
the most behind it. Ratios are medians of ratios within one sample, where both took turns. Load is the machine's
one-minute average before the suite began: above half its cores, something else was running too, and absolute times
are upper bounds. MB is a million bytes.

`

// Table writes latest.md. Lines are the table's lines by Row.What.
func Table(machine string, rows []Row, lines map[string]string) string {
	var b strings.Builder
	b.WriteString(about)
	fmt.Fprintf(&b, "Machine of the newest figures: %s.\n\n", machine)
	b.WriteString("| " + strings.Join(heads, " | ") + " |\n|" + strings.Repeat("---|", len(heads)) + "\n")
	for _, r := range rows {
		if l := lines[r.What]; l != "" {
			b.WriteString(l + "\n")
		}
	}
	return b.String()
}

// Line is one line of the table. With the zero Place nothing was measured.
func Line(c Cells, p Place) string {
	date := ""
	if !p.Date.IsZero() {
		date = p.Date.UTC().Format(time.DateOnly)
	}
	cells := []string{c.What, c.Figure, c.Peer, c.Ratio, c.Budget, c.Verdict, date, p.Commit, p.Load}
	for i := range cells {
		text := strings.ReplaceAll(strings.Join(strings.Fields(cells[i]), " "), "|", "/")
		cells[i] = cmp.Or(text, "-")
	}
	return "| " + strings.Join(cells, " | ") + " |"
}

// Lines reads the lines of a table that Table wrote, by Row.What. What is no line of such a table is passed over.
func Lines(page string) map[string]string {
	out := map[string]string{}
	for l := range strings.Lines(page) {
		l = strings.TrimSuffix(l, "\n")
		cells := strings.Split(l, " | ")
		if len(cells) != len(heads) || !strings.HasPrefix(l, "| ") || !strings.HasSuffix(l, " |") {
			continue
		}
		what := strings.TrimPrefix(cells[0], "| ")
		if what != heads[0] && !slices.Contains(heads, what) {
			out[what] = l
		}
	}
	return out
}
