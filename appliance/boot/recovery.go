package boot

import (
	"context"
	"html/template"
	"log"
	"net/http"
	"os"
	"time"
)

// Trouble is what the recovery page says: what is so, and what was measured.
type Trouble struct {
	Sentence string
	Measured string
}

// recoveryPage has no style sheet of webui's: it must stand when nothing else does. English and German, because
// nobody can be asked for a language.
var recoveryPage = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Hearth: the storage is damaged</title>
<style>
:root{color-scheme:light dark}
body{font:1.05rem/1.55 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1.2rem;background:light-dark(#f2f2ec,#1b1815);color:light-dark(#1b2420,#f0eae2)}
h1{font-size:1.5rem;line-height:1.25}h2{font-size:1.1rem;margin-top:2rem}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:light-dark(#e5e7df,#131110);padding:.8rem}
</style></head><body>
<main>
<h1>The storage of this box is damaged.</h1>
<p>{{.Sentence}}</p>
<p>The box itself runs. It keeps its hands off the damaged storage, so that nothing more is lost. Names, files and the private network are off until this is mended.</p>
<h2>What you can do</h2>
<ol>
<li>Take the power away, wait ten seconds, and give it back. The storage is checked again. A loose card or cable is the most common cause: seat it firmly.</li>
<li>If this page comes again, do not write to the card or disk. Someone who knows Linux can often still copy files from its fourth partition (ext4) on another computer.</li>
<li>Write Hearth to a new card or disk and start the box with it. Keep the damaged one.</li>
</ol>
<h2>For the person who helps</h2>
<pre>{{.Measured}}</pre>
</main>
<main lang="de">
<h1>Der Speicher dieser Box ist beschädigt.</h1>
<p>Die Box selbst läuft. Sie fasst den beschädigten Speicher nicht an, damit nicht noch mehr verloren geht. Namen, Dateien und das private Netz ruhen, bis das behoben ist.</p>
<h2>Was Sie tun können</h2>
<ol>
<li>Den Strom wegnehmen, zehn Sekunden warten, wieder einschalten. Der Speicher wird neu geprüft. Meist sitzt eine Karte oder ein Kabel lose: fest einstecken.</li>
<li>Kommt diese Seite wieder, schreiben Sie nichts auf die Karte oder Platte. Wer sich mit Linux auskennt, kann an einem anderen Rechner oft noch Dateien von der vierten Partition (ext4) kopieren.</li>
<li>Hearth auf eine neue Karte oder Platte schreiben und die Box damit starten. Die beschädigte aufheben.</li>
</ol>
</main>
</body></html>
`))

// RecoveryHandler answers every path with the recovery page, with status 503 so that no program takes it for the
// real thing. /healthz says "damaged".
func RecoveryHandler(t Trouble) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusServiceUnavailable)
		w.Write([]byte("damaged\n")) //nolint:errcheck // the client has gone
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(http.StatusServiceUnavailable)
		recoveryPage.Execute(w, t) //nolint:errcheck // the client has gone
	})
	return mux
}

// serveRecovery is the child of process 1 that serves the page: /gokrazy/init recovery. The trouble comes in the
// environment, because /perm cannot be read and arguments are in everybody's sight.
func serveRecovery() {
	t := Trouble{os.Getenv("HEARTH_TROUBLE"), os.Getenv("HEARTH_MEASURED")}
	s := &http.Server{
		Addr: ":80", Handler: RecoveryHandler(t),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 20 * time.Second, WriteTimeout: 20 * time.Second,
		MaxHeaderBytes: 16 << 10,
	}
	log.Fatal(s.ListenAndServe())
}

// background is the context of process 1: it never ends.
var background = context.Background()
