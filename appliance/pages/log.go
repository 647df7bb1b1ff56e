package pages

import (
	"context"
	"slices"

	"hearth.alt/appliance/api"
	"hearth.alt/webui"
	"hearth.alt/webui/house"
)

// logPage is how many records stand on one page.
const logPage = 50

// Log returns a page of the household's log, newest first.
func (h *House) Log(ctx context.Context, n int) (house.Log, error) {
	entries, err := h.API.LogEntries(webui.CallerOf(ctx))
	if err != nil {
		return house.Log{}, err
	}
	slices.Reverse(entries)
	l := house.Log{All: len(entries), Pages: max(1, (len(entries)+logPage-1)/logPage)}
	l.Page = min(max(n, 1), l.Pages)
	from := (l.Page - 1) * logPage
	for _, e := range entries[from:min(from+logPage, len(entries))] {
		r := house.LogRecord{At: e.At, What: e.What, Person: e.Person, Box: e.Box, Why: e.Why}
		if r.Box == "" && !e.Author.IsZero() {
			r.Box = e.Author.String() // nobody knows what it was called
		}
		l.Records = append(l.Records, r)
	}
	return l, nil
}

// CheckLog checks every record on the disk.
func (h *House) CheckLog(ctx context.Context) (int, error) {
	out, err := h.API.VerifyLog(ctx, webui.CallerOf(ctx), api.None{})
	return out.Records, err
}
