package e2e

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// A thief who holds the attic is quicker than everybody else: with it he removes the study, or the study and the barn. The
// owner stands before the study with the paper in the hand. Its page takes the 24 words, also after it was started again;
// the barn, which took the removal as true or was removed too, hears of it, and the attic is out.
func TestStolenBoxWasQuicker(t *testing.T) {
	t.Parallel()
	for _, removed := range [][]string{{"Study"}, {"Study", "Barn"}} {
		t.Run(fmt.Sprint(removed), func(t *testing.T) {
			t.Parallel()
			v := newVillage(t)
			boxes, words := v.smiths("Attic", "Barn")
			study, attic, barn := boxes[0], boxes[1], boxes[2]
			visitor := study.other("visitor")
			id := map[string]string{}
			for name, b := range attic.boxes() {
				id[name] = b.ID
			}
			for _, name := range removed {
				attic.Do(nil, "box", "remove", name)
			}
			hears := func(b *villager, name string) {
				t.Helper()
				within(t, time.Minute, b.host.Name()+" hears nothing", func() error {
					if got := b.disputed(); !slices.Contains(got, "remover Attic") || !slices.Contains(got, "box "+name) {
						return fmt.Errorf("%q", got)
					}
					return nil
				})
			}
			hears(study, "Study")
			if len(removed) == 1 {
				barn.lacks("Study")
			} else {
				hears(barn, "Barn")
			}
			for _, name := range removed {
				b := map[string]*villager{"Study": study, "Barn": barn}[name]
				b.Stop()
				b.Restart()
			}

			var list []struct{ ID, Kind string }
			study.Do(&list, "recover", "dispute")
			form := url.Values{"words": {strings.Join(words, " ")}}
			for _, d := range list {
				form.Set("who-"+d.ID, map[bool]string{false: "stays", true: "goes"}[d.Kind == "remover"])
			}
			at := study.browser(visitor, "https://"+study.at.String())
			within(t, 30*time.Second, "the study's page", func() error {
				resp, text, err := at.try("GET", "/dispute", nil)
				if err == nil && (resp.StatusCode != 200 || !strings.Contains(text, `name="words"`)) {
					err = fmt.Errorf("%d: %s", resp.StatusCode, text)
				}
				return err
			})
			at.post("/dispute/settle", form, 303)
			within(t, 2*time.Minute, "they are not together", func() error {
				for _, b := range []*villager{study, barn} {
					var rows []boxRow
					if f := b.TryDo(&rows, "box", "list"); f != nil {
						return fmt.Errorf("%s: %s", b.host.Name(), f.Stderr)
					}
					for _, r := range rows {
						if r.Name == "Attic" || !r.Self && !r.Linked || len(rows) != 2 {
							return fmt.Errorf("%s lists %+v", b.host.Name(), rows)
						}
					}
				}
				return nil
			})
			study.up()
			barn.up()
			v.agree(study, barn)
			attic.TryDo(nil, "person", "add", "Eve", "--role", "owner") // where nobody told it, the attic goes on alone
			study.add("Ben", "member")
			barn.knows("Ben", true)
			study.knows("Eve", false)
			barn.knows("Eve", false)
			if got := study.boxes()["Study"].ID; got != id["Study"] {
				t.Errorf("the study is %s, was %s", got, id["Study"])
			}
		})
	}
}
