package boot

import (
	"encoding/json"
	"os"
	"time"

	"hearth.alt/boards"
	"hearth.alt/services/durable"
)

// Report is what process 1 found and did at this boot. Health and the dashboard's storage lines are made of it.
type Report struct {
	Version string      `json:"version"`
	Board   string      `json:"board"` // "" when the disk is none of ours
	Slot    boards.Slot `json:"slot"`
	Disk    string      `json:"disk"` // kernel's name, "mmcblk0"
	Perm    PermState   `json:"perm"`
	Detail  string      `json:"detail,omitempty"` // what the check said, for the person who helps
	// Journal is false when a repair had to drop the file system's journal: it works, but a power cut may now cost
	// more than the last seconds. The data should be restored to a fresh card.
	Journal       bool          `json:"journal"`
	TableRepaired bool          `json:"table_repaired,omitempty"`
	GrownFrom     uint64        `json:"grown_from,omitempty"` // bytes; both 0 when nothing grew
	GrownTo       uint64        `json:"grown_to,omitempty"`
	Took          time.Duration `json:"took_ns"` // from process 1's start to the services'
}

// ReadReport returns the report of this boot. It matches fs.ErrNotExist off the device.
func ReadReport() (*Report, error) { return readReport(report) }

func readReport(path string) (*Report, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &Report{}
	return r, json.Unmarshal(b, r)
}

func (r *Report) write(path string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return durable.WriteFile(path, append(b, '\n'), 0o644)
}
