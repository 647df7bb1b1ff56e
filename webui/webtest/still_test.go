package webtest

import (
	"regexp"
	"strings"
	"testing"

	"hearth.alt/webui/messages"
)

var changes = regexp.MustCompile(`href="/words"|(href|action)="/(devices|people|friends|boxes)[^"]*/(add|invite|accept|remove)"|<form class="stack" method="post"`)

// TestNothingToChangeWhileDisputed: a page that changes who belongs offers no button for it while nobody can, and says why.
func TestNothingToChangeWhileDisputed(t *testing.T) {
	played := 0
	for _, s := range Scenes() {
		still := s.House.TheFrame.Frozen || s.House.TheFrame.LogReadOnly
		switch s.Page {
		case "people", "person", "devices", "device", "boxes", "friends", "home":
		default:
			continue
		}
		if !still || s.Method != "GET" {
			continue
		}
		played++
		_, body := play(t, s, messages.English)
		if got := changes.FindString(body); got != "" {
			t.Errorf("%s offers %s", s.Name, got)
		}
		if s.Page != "home" && !strings.Contains(body, "can be added, changed or removed") {
			t.Errorf("%s does not say why nothing can be changed", s.Name)
		}
	}
	if played < 8 {
		t.Errorf("only %d scenes are of such a time", played)
	}
}
