package browser

import (
	"fmt"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"hearth.alt/webui"
	"hearth.alt/webui/webtest"
)

// visit is one way to look at every scene.
type visit struct {
	look Look
	lang string
}

// visits are a fixed sample in make test, German where it is narrowest; all of them under HEARTH_TEST_ALL=1.
func visits() []visit {
	if os.Getenv("HEARTH_TEST_ALL") != "1" {
		return []visit{{Look{320, false}, "de"}, {Look{1280, false}, "en"}, {Look{768, true}, "de"}}
	}
	var out []visit
	for _, w := range []int{320, 360, 768, 1280} {
		for _, dark := range []bool{false, true} {
			for _, lang := range []string{"en", "de"} {
				out = append(out, visit{Look{w, dark}, lang})
			}
		}
	}
	return out
}

// TestGallery looks at every page of the route table in every state: nothing axe-core objects to, nothing sticks out,
// the browser complains about nothing. Pictures are kept in out/shots.
func TestGallery(t *testing.T) {
	HaveAxe(t)
	only := os.Getenv("HEARTH_SCENE")
	srv := httptest.NewServer(webtest.Gallery())
	defer srv.Close()
	b := Start(t)
	pages := map[string]bool{}
	t.Attr("figure", fmt.Sprintf("%d states of pages in %d views each", len(webtest.Scenes()), len(visits())))
	for _, s := range webtest.Scenes() {
		pages[s.Page] = true
		if only != "" && !strings.HasPrefix(s.Name, only) {
			continue
		}
		for _, v := range visits() {
			t.Run(s.Name+"/"+v.look.String()+"-"+v.lang, func(t *testing.T) {
				if err := b.Open(v.look, srv.URL+"/s/"+s.Name+"?lang="+v.lang); err != nil {
					t.Fatal(err)
				}
				report(t, b, s.Name+"-"+v.lang+"-"+v.look.String())
			})
		}
	}
	for _, r := range webui.Routes(&webtest.House{}) {
		if r.Page != "" && !pages[r.Page] {
			t.Errorf("%s %s: nobody looks at the page %s", r.Method, r.Path, r.Page)
		}
	}
}

func report(t *testing.T, b *Browser, name string) {
	t.Helper()
	if err := b.Shot(name); err != nil {
		t.Error(err)
	}
	wide, err := b.Overflow()
	if err != nil {
		t.Error(err)
	}
	for _, w := range wide {
		t.Errorf("sticks out: %s", w)
	}
	bad, err := b.Axe()
	if err != nil {
		t.Error(err)
	}
	for _, a := range bad {
		t.Errorf("axe: %s", a)
	}
	// A page that is an error on purpose is said so by the browser, too.
	for _, c := range b.Complaints("the server responded with a status of") {
		t.Errorf("the browser says: %s", c)
	}
}

// TestMenu opens the menu of a phone, which needs no script.
func TestMenu(t *testing.T) {
	HaveAxe(t)
	srv := httptest.NewServer(webtest.Gallery())
	defer srv.Close()
	b := Start(t)
	for _, l := range []Look{{320, false}, {360, true}} {
		if err := b.Open(l, srv.URL+"/s/home?lang=de"); err != nil {
			t.Fatal(err)
		}
		if err := b.Do(chromedp.Click(chromedp.CSS(".menu-button")), chromedp.Query(chromedp.CSS(".menu"), chromedp.NodeVisible)); err != nil {
			t.Fatalf("the menu does not open: %v", err)
		}
		report(t, b, "menu-de-"+l.String())
	}
}

// TestPolicy breaks the rules on purpose: what the other tests rely on must be noticed.
func TestPolicy(t *testing.T) {
	srv := httptest.NewServer(webtest.Gallery())
	defer srv.Close()
	b := Start(t)
	if err := b.Open(Look{320, false}, srv.URL+"/s/claim"); err != nil {
		t.Fatal(err)
	}
	if c := b.Complaints(); len(c) != 0 {
		t.Fatalf("the browser says: %v", c)
	}
	_, err := Eval[int](b, `document.querySelector("h1").setAttribute("style", "width:2000px");
		document.querySelector("main").insertAdjacentHTML("beforeend", "<img src='https://example.invalid/x.png'>"); 0`)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		if c := strings.Join(b.Complaints(), "\n"); strings.Contains(c, "Content Security Policy") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the browser did not say that the policy was broken")
		}
		time.Sleep(50 * time.Millisecond)
	}
}
