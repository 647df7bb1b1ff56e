package claimcode

import (
	"errors"
	"fmt"
	"strings"
)

// sheetMark begins the line of a sheet that a program reads.
const sheetMark = "Hearth claim code:"

// maxSheet bounds what ParseSheet looks at, in bytes.
const maxSheet = 16 << 10

// Sheet reveals the code as the plain text of the claim sheet, in English and German, UTF-8 with lines of at most
// 76 columns. It is for the one who flashes the card, and for the box's own FAT partition and screen. host is as for URL.
func (c Code) Sheet(host string) (string, error) {
	cert, err := c.Certificate()
	if err != nil {
		return "", err
	}
	if host == "" {
		host = Host
	}
	words := c.Words()
	f := FingerprintOf(cert.Certificate[0])
	full := f.String()
	half := len(full) / 2
	return fmt.Sprintf(`%s %s

        %s
        %s

Address     %s
Or with     https://%s/
Certificate %s   (compare these / vergleiche diese)
SHA-256     %s
            %s

Whoever holds this sheet can make the box their own. Keep it until the box
is yours; then it is worthless and may be thrown away.

1. Connect the box to your router and to power. Wait a minute.
2. Open the address above in a browser, or scan the code on the sheet.
3. Type the code, or the eight words, if you are asked for them.
The https address shows a warning first. Go on only if the certificate it
shows has the numbers above; the first four groups are enough.
If %s does not open: look in your router's list of devices for
"hearth", or at a screen on the box, and open http:// and the address there.

Wer dieses Blatt hat, kann die Box in Besitz nehmen. Heb es auf, bis die Box
dir gehört; danach ist es wertlos und darf weggeworfen werden.

1. Die Box mit Router und Strom verbinden. Eine Minute warten.
2. Die Adresse oben im Browser öffnen, oder den Code auf dem Blatt scannen.
3. Den Code oder die acht Wörter eingeben, wenn danach gefragt wird.
Die https-Adresse zeigt zuerst eine Warnung. Geh nur weiter, wenn das
gezeigte Zertifikat die Ziffern oben hat; die ersten vier Gruppen genügen.
Wenn sich %s nicht öffnet: Sieh in der Geräteliste deines Routers
nach "hearth" oder auf einem Bildschirm an der Box, und öffne http:// und
die Adresse, die dort steht.
`, sheetMark, c.Text(), strings.Join(words[:4], " "), strings.Join(words[4:], " "), c.URL(host), host, f.Short(), full[:half], full[half+1:], host, host), nil
}

// ErrNoCode is returned by ParseSheet for a text that is not a sheet.
var ErrNoCode = errors.New("no line of the claim sheet begins with \"" + sheetMark + "\"")

// ParseSheet reads the code from a sheet that Sheet wrote, also after an editor changed its line ends or put a byte
// order mark before it. The error is ErrNoCode or a *ParseError.
func ParseSheet(b []byte) (Code, error) {
	if len(b) > maxSheet {
		return Code{}, ErrNoCode
	}
	for line := range strings.Lines(strings.TrimPrefix(string(b), "\ufeff")) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), sheetMark); ok {
			return Parse(rest)
		}
	}
	return Code{}, ErrNoCode
}
