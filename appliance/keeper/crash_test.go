package keeper_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hearth.alt/appliance/keeper"
)

// TestPowerCutWhileWritingKeys runs everything that writes below secrets/ in a process that dies at each crash point,
// at each time that it passes it, and then once more to the end. What was said to be done before the cut holds after
// it, and no key is damaged.
func TestPowerCutWhileWritingKeys(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a second program: go test ./appliance/keeper/")
	}
	program := filepath.Join(t.TempDir(), "keeper.test")
	build := exec.Command("go", "test", "-c", "-tags", "crashpoints", "-o", program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	run := func(state, at string) (said map[string]string, finished bool, err error) {
		cmd := exec.Command(program)
		cmd.Env = append(os.Environ(), "KEEPER_PLAY=secrets", "PLAY_STATE="+state, "HEARTH_CRASH_AT="+at)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if stderr.Len() > 0 {
			err = fmt.Errorf("%w: %s", err, stderr.String())
		}
		said = map[string]string{}
		for line := range strings.Lines(string(out)) {
			step, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			said[step] = value
		}
		return said, said["done"] == "all", err
	}
	cuts := 0
	for _, point := range []string{
		"durable.file.written", "durable.file.renamed", "durable.file.removed", "keeper.key.writing", "keeper.key.written", "keeper.key.overwritten", "keeper.claim.marked",
		"keeper.device.linked", "keeper.device.renamed",
	} {
		for n := 1; ; n++ {
			state := t.TempDir()
			at := fmt.Sprintf("%s:%d", point, n)
			before, finished, err := run(state, at)
			if finished {
				if n == 1 {
					t.Errorf("%s is never passed", point)
				}
				break
			}
			if err == nil || !strings.Contains(err.Error(), "killed") {
				t.Fatalf("%s: the first run ended with %v", at, err)
			}
			cuts++
			// The next start meets what the cut left.
			l, err := keeper.NewLocal(config(state))
			if err != nil {
				t.Fatalf("%s: the next start: %v", at, err)
			}
			if i, _ := l.Info(t.Context()); len(i.Damaged) > 0 {
				t.Errorf("%s: damaged %q", at, i.Damaged)
			}
			id := l.PeerID().String()
			switch renewed := id == before["next"]; {
			case before["adopted"] != "" && !renewed:
				t.Errorf("%s: the old device key is back", at)
			case before["device"] != "" && id != before["device"] && !renewed:
				t.Errorf("%s: another device key", at)
			}
			if v := before["next"]; v != "" && id != v {
				// It still waits, and can be adopted.
				next, err := l.NextDevice(t.Context())
				if err != nil || next.String() != v {
					t.Errorf("%s: another next device key, %v", at, err)
				}
				if err := l.AdoptDevice(t.Context(), next); err != nil {
					t.Errorf("%s: adopting it after all: %v", at, err)
				}
				after := local(t, config(state))
				if after.PeerID() != next {
					t.Errorf("%s: adopted, and not there at the next start", at)
				}
			}
			if _, err := os.Lstat(filepath.Join(state, "secrets", "device-old")); !os.IsNotExist(err) {
				t.Errorf("%s: the device key of before is left", at)
			}
			key, err := l.ClientKey(t.Context())
			if v, ok := before["client"]; err != nil || (ok && v != fmt.Sprintf("%x", key.Reveal())) {
				t.Errorf("%s: another client key, %v", at, err)
			}
			if _, ca, err := l.CACertificates(t.Context()); before["ca"] != "" && (err != nil || fmt.Sprintf("%x", ca) != before["ca"]) {
				t.Errorf("%s: another authority, %v", at, err)
			}
			_, claimErr := l.ClaimSecret(t.Context())
			if before["forgotten"] != "" && claimErr == nil {
				t.Errorf("%s: the claim secret is back", at)
			}
			if before["claim"] != "" && claimErr != nil && !strings.Contains(claimErr.Error(), "has an owner") {
				t.Errorf("%s: claim secret: %v", at, claimErr)
			}
			pub, rootErr := l.MakeRoot(t.Context())
			switch {
			case rootErr != nil:
				t.Errorf("%s: root: %v", at, rootErr)
			case before["erased"] != "":
				if fmt.Sprintf("%x", []byte(pub)) == before["root"] {
					t.Errorf("%s: the erased root is back", at)
				}
			case before["forgotten"] == "" && before["root"] != "":
				// Nothing had begun to erase it.
				if fmt.Sprintf("%x", []byte(pub)) != before["root"] {
					t.Errorf("%s: another root", at)
				}
			}
			left, _ := filepath.Glob(filepath.Join(state, "secrets", ".new-*"))
			if len(left) > 0 {
				t.Errorf("%s: left behind: %q", at, left)
			}
			l.Close()
		}
	}
	t.Logf("%d power cuts", cuts)
}
