package identity

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"hearth.alt/services/identity/internal/record"
	"hearth.alt/services/secret"
)

type rootKeys struct {
	boxKeys
	next *[]secret.Bytes
}

func (k rootKeys) NextRoots(context.Context) ([]secret.Bytes, error) { return *k.next, nil }
func (k rootKeys) KeepNextRoots(_ context.Context, n []secret.Bytes) error {
	*k.next = n
	return nil
}
func (rootKeys) EraseRoot(context.Context) error { return nil }

// New words count also where there is more beside one another than one frame of the log has room for, as what a stolen box
// wrote that was removed.
func TestNewWordsAmongManyEnds(t *testing.T) {
	d, words := worded(t)
	a, thief, base := d.boxes[0], d.boxes[1], d.last()
	d.add(a, record.RemoveBox{Box: thief.Key}, base)
	for range 30_000 {
		d.seq[thief] = 0
		d.add(thief, record.SetLAN{Person: ann}, base)
	}
	s, err := New(Config{Dir: filepath.Dir(d.file()), Keys: rootKeys{boxKeys{onlyID{id: d.self()}, d.keys[a]}, new([]secret.Bytes)}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	shown, err := s.NewWords(t.Context(), words)
	if err != nil {
		t.Fatal(err)
	}
	var fresh []string
	for _, w := range shown {
		fresh = append(fresh, w.Reveal())
	}
	if err := s.ReplaceWords(t.Context(), words, fresh); err != nil {
		t.Fatal(err)
	}
	if err := s.CheckWords(t.Context(), fresh); err != nil {
		t.Error(err)
	}
}
