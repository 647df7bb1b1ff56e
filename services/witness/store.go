package witness

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/durable"
)

// Finding is that a box showed a log that does not go on from what it showed before.
type Finding struct {
	Found time.Time  // known time of this box
	Had   Checkpoint // what the box had signed
	Shown Checkpoint // what it shows now instead; of this box itself it is zero
}

// Older says whether less was shown than before: a box that was brought back from an old copy. Otherwise there are two
// different logs: a copied card, or a lie.
func (f Finding) Older() bool { return f.Shown.Size < f.Had.Size }

// seen is what is kept of one box.
type seen struct {
	Last    Checkpoint // the newest that goes on from the first
	Finding *Finding   `json:",omitempty"`
}

// kept is the file: version 1.
type kept struct {
	Version int
	Boxes   map[services.PeerID]*seen
	Own     *Finding `json:",omitempty"` // of this box, by a friend's word and its own signature
}

const maxFile = 1 << 20

func decode(b []byte) (kept, error) {
	var k kept
	if err := json.Unmarshal(b, &k); err != nil {
		return kept{}, err
	}
	if k.Version != 1 {
		return kept{}, fmt.Errorf("it has version %d, this program knows 1", k.Version)
	}
	for id, s := range k.Boxes {
		if s == nil {
			delete(k.Boxes, id)
		}
	}
	if k.Boxes == nil {
		k.Boxes = map[services.PeerID]*seen{}
	}
	return k, nil
}

// load reads the file; a missing one is an empty one.
func load(path string) (kept, error) {
	none := kept{Version: 1, Boxes: map[services.PeerID]*seen{}}
	b, err := durable.ReadSmall(path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return none, nil
	}
	if err != nil {
		return none, err
	}
	k, err := decode(b)
	if err != nil {
		return none, err
	}
	return k, nil
}

func (k kept) save(path string) error {
	b, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if err := durable.MakeDir(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return durable.WriteFile(path, b, 0o600)
}
