package readme

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFill(t *testing.T) {
	boards := "# Boards\n\n## rpi: Raspberry Pi 3, 4\n\n- *proven in QEMU*: it boots\n- *not proven*: HDMI\n- *not proven*: WiFi\n\n## amd64: PC\n\n- *by model*: a | b\n"
	want := "above\n" + begin + `| board | proven in QEMU | by model | not proven |
|---|---|---|---|
| **rpi** Raspberry Pi 3, 4 | it boots |  | HDMI; WiFi |
| **amd64** PC |  | a \| b |  |
` + end + "below\n"
	got, err := Fill("above\n"+begin+"old\n"+end+"below\n", boards)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if again, err := Fill(got, boards); err != nil || again != got {
		t.Errorf("filling twice changes it: %v", err)
	}
	for name, in := range map[string][2]string{
		"no lines":  {"above\n", boards},
		"no boards": {begin + end, "# Boards\n"},
	} {
		if _, err := Fill(in[0], in[1]); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// README.md shows what boards/README.md says now, and the two set-up commands and no third.
func TestReadme(t *testing.T) {
	raw, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"make run\n", "make test\n", "Source of what we pass on"} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("README.md lacks %q", want)
		}
	}
	boards, err := os.ReadFile("../../boards/README.md")
	if os.IsNotExist(err) {
		t.Log("there is no boards/README.md yet")
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	want, err := Fill(string(raw), string(boards))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(raw)); diff != "" {
		t.Errorf("the table of boards is old: run make generate (-want +got):\n%s", diff)
	}
}
