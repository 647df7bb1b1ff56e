package mesh

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/durable"
)

// state is the file state.json, version 1: what makes a restart go unnoticed. It is written when an address or the
// port changed, at once as long as that happens seldom and once a minute when it does not, and at the end of a run; a
// damaged one is set aside and costs the phones up to half a minute, until they ask by themselves.
type state struct {
	Version int    `json:"version"`
	Port    uint16 `json:"port,omitempty"`
	Devices []seen `json:"devices,omitempty"`
}

// seen is where a device was.
type seen struct {
	ID        services.DeviceID `json:"id"`
	At        netip.AddrPort    `json:"at,omitzero"`
	Handshake time.Time         `json:"handshake,omitzero"`
}

const (
	stateVersion = 1
	stateBytes   = 1 << 20
	savePause    = time.Minute
	saveBurst    = 8
)

// pace lets saveBurst things happen at once and one in savePause in the long run (the generic cell rate algorithm).
// The zero value has not let anything happen.
type pace struct{ full time.Time } // when all of the burst is there again

// wait is how long the next must wait.
func (p *pace) wait(now time.Time) time.Duration {
	return max(0, p.full.Add(-(saveBurst-1)*savePause).Sub(now))
}

// took counts one.
func (p *pace) took(now time.Time) {
	if p.full.Before(now) {
		p.full = now
	}
	p.full = p.full.Add(savePause)
}

func (s *Service) stateFile() string { return filepath.Join(s.cfg.Dir, "state.json") }

func parseState(b []byte) (state, error) {
	var st state
	if len(b) > stateBytes {
		return state{}, errors.New("too long")
	}
	if err := json.Unmarshal(b, &st); err != nil {
		return state{}, err
	}
	if st.Version != stateVersion {
		return state{}, fmt.Errorf("version %d", st.Version)
	}
	for _, d := range st.Devices {
		if !d.ID.Valid() {
			return state{}, fmt.Errorf("%q is not a device", d.ID)
		}
	}
	return st, nil
}

// loadState reads what an earlier run left.
func (s *Service) loadState() state {
	none := state{Version: stateVersion}
	b, err := os.ReadFile(s.stateFile())
	if errors.Is(err, fs.ErrNotExist) {
		return none
	}
	var st state
	if err == nil {
		st, err = parseState(b)
	}
	if err != nil {
		s.cfg.Log.Warn("what is known of the devices' places is damaged, starting without", "err", err)
		os.Rename(s.stateFile(), s.stateFile()+".damaged")
		return none
	}
	return st
}

func (s *Service) saveState(st state) {
	b, err := json.Marshal(st)
	if err == nil {
		durable.Point("mesh.state.ready")
		err = durable.WriteFile(s.stateFile(), b, 0o600)
		durable.Point("mesh.state.saved")
	}
	if err != nil {
		s.cfg.Log.Warn("where the devices are is not on disk", "err", err)
	}
}
