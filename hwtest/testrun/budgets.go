package testrun

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// DefaultBudget is the time a package's tests may take when budgets.txt does not name it.
const DefaultBudget = 60 * time.Second

// Budgets is the time that each package's tests may take on two cores, by the package's folder ("services/dns").
type Budgets map[string]time.Duration

// ParseBudgets reads budgets.txt: a folder and whole seconds per line, # begins a comment. A folder named twice and
// seconds that are not from 1 to 7200 are errors.
func ParseBudgets(text string) (Budgets, error) {
	out := Budgets{}
	for i, l := range strings.Split(text, "\n") {
		l, _, _ = strings.Cut(l, "#")
		words := strings.Fields(l)
		if len(words) == 0 {
			continue
		}
		if len(words) != 2 {
			return nil, fmt.Errorf("budgets, line %d: want a folder and its seconds, have %q", i+1, l)
		}
		n, err := strconv.Atoi(words[1])
		if err != nil || n < 1 || n > 7200 {
			return nil, fmt.Errorf("budgets, line %d: seconds from 1 to 7200, have %q", i+1, words[1])
		}
		if _, ok := out[words[0]]; ok {
			return nil, fmt.Errorf("budgets, line %d: %s is named twice", i+1, words[0])
		}
		out[words[0]] = time.Duration(n) * time.Second
	}
	return out, nil
}

// Of returns the budget of the package in folder.
func (b Budgets) Of(folder string) time.Duration {
	if d, ok := b[folder]; ok {
		return d
	}
	return DefaultBudget
}
