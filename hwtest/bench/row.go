package bench

import (
	"fmt"
	"math"
)

// Limit says on which side of its budget a figure should be.
type Limit int

const (
	None    Limit = iota // no budget: the figure is told and not judged
	AtMost               // the budget is the most it may be
	AtLeast              // the budget is the least it may be
)

// Row is one line of the table.
type Row struct {
	What   string // unique; the line's key in latest.md
	Suite  string // the Suite that measures it; "" is a row that nothing measures yet
	Metric string // of the figure
	Unit   string // of figure, peer and budget: "ms", "MB"; "x" is a ratio
	// Scale is what the metric is multiplied with to be in Unit; 0 is 1.
	Scale float64

	Peer     string // metric of what it is compared with; "" is nobody
	PeerName string

	Limit   Limit
	Budget  float64
	OfRatio bool   // the budget is of figure divided by peer
	Note    string // in place of figures when Suite is "", else told after the verdict
}

// Verdict is how the figures stand to the budget.
type Verdict string

const (
	Within Verdict = "within"
	// Wavers is a median within and a worst sample beyond, or the other way: measure again on a quiet machine.
	Wavers  Verdict = "within; the worst sample is not"
	Over    Verdict = "**over**"
	Unknown Verdict = "not measured"
	Told    Verdict = "-"
)

// Judge compares a spread with the row's budget by its median.
func (r Row) Judge(s Spread) Verdict {
	worst := s.Max
	beyond := func(v float64) bool { return v > r.Budget }
	if r.Limit == AtLeast {
		worst = s.Min
		beyond = func(v float64) bool { return v < r.Budget }
	}
	switch {
	case s.N == 0:
		return Unknown
	case r.Limit == None:
		return Told
	case beyond(s.Median):
		return Over
	case beyond(worst):
		return Wavers
	}
	return Within
}

// Cells are a row as latest.md shows it, without where and when.
type Cells struct {
	What, Figure, Peer, Ratio, Budget string
	Verdict                           string
}

// Cells fills the row with samples. Why is the reason that some are missing.
func (r Row) Cells(s Samples, why string) Cells {
	c := Cells{What: r.What, Figure: "-", Peer: "-", Ratio: "-", Budget: r.budget()}
	figure := SpreadOf(scaled(s[r.Metric], r.Scale))
	if r.Suite == "" || figure.N == 0 {
		if why == "" {
			why = r.Note
		}
		if c.Verdict = string(Unknown); why != "" {
			c.Verdict += ": " + why
		}
		return c
	}
	c.Figure = show(figure, r.Unit)
	judged := figure
	if r.Peer != "" {
		peer := SpreadOf(scaled(s[r.Peer], r.Scale))
		ratio := SpreadOf(ratios(s[r.Metric], s[r.Peer]))
		if c.Peer = r.PeerName; peer.N > 0 {
			c.Peer += " " + show(peer, r.Unit)
			c.Ratio = show(ratio, "")
		}
		if r.OfRatio {
			judged = ratio
		}
	}
	c.Verdict = string(r.Judge(judged))
	if r.Note != "" {
		c.Verdict += "; " + r.Note
	}
	return c
}

func scaled(v []float64, by float64) []float64 {
	if by == 0 {
		return v
	}
	out := make([]float64, len(v))
	for i := range v {
		out[i] = v[i] * by
	}
	return out
}

func (r Row) budget() string {
	if r.Limit == None {
		return "-"
	}
	unit := r.Unit
	if r.OfRatio {
		unit = "x"
	}
	if unit != "" {
		unit = " " + unit
	}
	sign := "≤ "
	if r.Limit == AtLeast {
		sign = "≥ "
	}
	return fmt.Sprintf("%s%g%s", sign, r.Budget, unit)
}

// show writes a spread as "median (min to max, n)", or as the one value there is.
func show(s Spread, unit string) string {
	if unit != "" {
		unit = " " + unit
	}
	// A figure that is the same each time, such as a size, needs no spread.
	if digits(s.Min) == digits(s.Max) {
		return digits(s.Median) + unit
	}
	return fmt.Sprintf("%s%s (%s to %s, n = %d)", digits(s.Median), unit, digits(s.Min), digits(s.Max), s.N)
}

// digits writes three significant digits, and never an exponent.
func digits(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
