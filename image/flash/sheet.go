package flash

import (
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"strings"
	"time"

	"rsc.io/qr"

	"hearth.alt/boards"
	"hearth.alt/services/claimcode"
)

// WriteSheet writes the claim sheet into the folder dir as a page to print (.html, all in one file) and as plain text
// (.txt), both readable by their owner only, and returns their paths.
func WriteSheet(dir, board string, at time.Time, code claimcode.Code) (page, text string, err error) {
	plain, err := code.Sheet("")
	if err != nil {
		return "", "", err
	}
	title := board
	if b, err := boards.Find(board); err == nil {
		title = b.Title
	}
	html, err := SheetHTML(title, at, code)
	if err != nil {
		return "", "", err
	}
	base := filepath.Join(dir, fmt.Sprintf("hearth-claim-%s-%s", board, at.Format("20060102-150405")))
	page, text = base+".html", base+".txt"
	if err := os.WriteFile(page, html, 0o600); err != nil {
		return "", "", err
	}
	return page, text, os.WriteFile(text, []byte(plain+"\n"+made(title, at)+"\n"), 0o600)
}

var sheet = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Hearth: claim sheet</title>
<style>
@page{margin:18mm}
body{font:11pt/1.5 system-ui,sans-serif;color:#000;background:#fff;max-width:170mm;margin:10mm auto;padding:0 5mm}
h1{font-size:18pt;margin:0 0 4mm}
.top{display:flex;gap:10mm;flex-wrap:wrap;align-items:flex-start}
svg{width:52mm;height:52mm;flex:none}
dl{margin:0;display:grid;gap:1mm}dt{font-size:9pt}dd{margin:0 0 3mm;font-size:13pt}
.code{font:700 20pt/1.2 ui-monospace,monospace}
.short{font:700 13pt/1.4 ui-monospace,monospace}
.print{font:9pt/1.4 ui-monospace,monospace;overflow-wrap:anywhere}
ol{padding-left:6mm}section{margin-top:6mm;border-top:.3mm solid #888;padding-top:4mm}
</style></head><body>
<h1>Hearth</h1>
<div class="top">
<svg viewBox="0 0 {{.Side}} {{.Side}}" role="img" aria-label="QR code of {{.URL}}" shape-rendering="crispEdges"><rect width="{{.Side}}" height="{{.Side}}" fill="#fff"/><path d="{{.Path}}" fill="#000"/></svg>
<dl>
<dt>Claim code / Code</dt><dd class="code">{{.Code}}</dd>
<dt>The same in eight words / dasselbe in acht Wörtern</dt><dd>{{.Words}}</dd>
<dt>Address / Adresse</dt><dd>{{.URL}}</dd>
<dt>Certificate before the claim: compare these / Zertifikat vor der Übernahme: vergleiche diese</dt><dd class="short">{{.Short}}</dd>
<dt>The same in full, SHA-256 / dasselbe ganz, SHA-256</dt><dd class="print">{{.Fingerprint}}</dd>
</dl></div>
<section>
<p><strong>Whoever holds this sheet can make the box their own.</strong> Keep it until the box is yours; then it is worthless.</p>
<ol><li>Put the card into the box, connect it to your router and to power. Wait a minute.</li>
<li>Scan the code with a phone at home, or open the address in a browser.</li>
<li>Type the code, or the eight words, if you are asked for them. On <span class="print">https://{{.Host}}/</span> the browser warns first: go on only if the certificate shows the numbers above; the four groups are enough.</li></ol>
<p>If {{.Host}} does not open: look in your router's list of devices for “hearth”, or at a screen on the box, and open http:// and the address there.</p>
</section>
<section lang="de">
<p><strong>Wer dieses Blatt hat, kann die Box in Besitz nehmen.</strong> Heb es auf, bis die Box dir gehört; danach ist es wertlos.</p>
<ol><li>Die Karte in die Box stecken, die Box mit Router und Strom verbinden. Eine Minute warten.</li>
<li>Den Code zu Hause mit dem Telefon scannen, oder die Adresse im Browser öffnen.</li>
<li>Code oder Wörter eingeben, wenn danach gefragt wird. Auf <span class="print">https://{{.Host}}/</span> warnt der Browser zuerst: nur weitergehen, wenn das Zertifikat die Ziffern oben zeigt; die vier Gruppen genügen.</li></ol>
<p>Wenn sich {{.Host}} nicht öffnet: Sieh in der Geräteliste deines Routers nach „hearth“ oder auf einem Bildschirm an der Box, und öffne http:// und die Adresse, die dort steht.</p>
</section>
<section class="print">{{.Made}}</section>
</body></html>
`))

// made says what the sheet is for, for whoever finds it among others.
func made(title string, at time.Time) string {
	return fmt.Sprintf("Hearth for %s, written on %s", title, at.Format("2006-01-02 15:04"))
}

// SheetHTML reveals the code as a page to print that needs nothing beside itself. title names the board, at is when the
// card was written.
func SheetHTML(title string, at time.Time, code claimcode.Code) ([]byte, error) {
	cert, err := code.Certificate()
	if err != nil {
		return nil, err
	}
	url := code.URL("")
	q, err := qr.Encode(url, qr.M)
	if err != nil {
		return nil, err
	}
	const quiet = 4 // modules, as ISO/IEC 18004 asks
	var path strings.Builder
	for y := range q.Size {
		for x := range q.Size {
			if q.Black(x, y) {
				fmt.Fprintf(&path, "M%d %dh1v1h-1z", x+quiet, y+quiet)
			}
		}
	}
	print := claimcode.FingerprintOf(cert.Certificate[0])
	var out strings.Builder
	err = sheet.Execute(&out, map[string]any{
		"Side": q.Size + 2*quiet, "Path": path.String(), "URL": url, "Host": claimcode.Host,
		"Code": code.Text(), "Words": strings.Join(code.Words(), " "),
		"Fingerprint": print.String(), "Short": print.Short(), "Made": made(title, at),
	})
	return []byte(out.String()), err
}
