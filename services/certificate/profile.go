package certificate

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"encoding/xml"
	"fmt"
	"strings"
)

// The media types under which a browser offers to install an authority.
const (
	MediaCRT          = "application/x-x509-ca-cert"       // Android, Windows, Firefox: the DER itself, as a .crt file
	MediaPEM          = "application/x-pem-file"           // Linux
	MediaMobileConfig = "application/x-apple-aspen-config" // iOS, iPadOS, macOS
	profileIdentifier = "alt.hearth.household"             // reverse DNS, as Apple asks; the root's hash follows
	plistDoctype      = `<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">`
)

// PEM writes the root as text (RFC 7468).
func PEM(rootDER []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER})
}

// Profile is what an Apple device shows while it installs the root. The texts come in the reader's language.
type Profile struct {
	Root         []byte // DER
	DisplayName  string // "Smith household"
	Description  string // one sentence: what it allows, and that it allows nothing else
	Organization string // "Hearth"
}

// MobileConfig writes an unsigned configuration profile that installs the root (Apple, Configuration Profile
// Reference, payload com.apple.security.root). The same input gives the same bytes, and the same root the same
// identifiers, so that installing it again replaces the old one. On iOS the person then turns on full trust under
// Settings, General, About, Certificate Trust Settings; a profile cannot.
func MobileConfig(p Profile) []byte {
	outer, inner := profileUUID("profile", p.Root), profileUUID("root", p.Root)
	id := profileIdentifier + "." + strings.ToLower(outer[:8])
	var b bytes.Buffer
	b.WriteString(xml.Header + plistDoctype + "\n<plist version=\"1.0\">\n<dict>\n")
	b.WriteString("\t<key>PayloadContent</key>\n\t<array>\n\t\t<dict>\n")
	text(&b, 3, "PayloadCertificateFileName", "hearth.crt")
	b.WriteString("\t\t\t<key>PayloadContent</key>\n\t\t\t<data>\n")
	for s := base64.StdEncoding.EncodeToString(p.Root); s != ""; {
		n := min(64, len(s))
		b.WriteString("\t\t\t" + s[:n] + "\n")
		s = s[n:]
	}
	b.WriteString("\t\t\t</data>\n")
	text(&b, 3, "PayloadDescription", p.Description)
	text(&b, 3, "PayloadDisplayName", p.DisplayName)
	text(&b, 3, "PayloadIdentifier", id+".root")
	text(&b, 3, "PayloadType", "com.apple.security.root")
	text(&b, 3, "PayloadUUID", inner)
	b.WriteString("\t\t\t<key>PayloadVersion</key>\n\t\t\t<integer>1</integer>\n\t\t</dict>\n\t</array>\n")
	text(&b, 1, "PayloadDescription", p.Description)
	text(&b, 1, "PayloadDisplayName", p.DisplayName)
	text(&b, 1, "PayloadIdentifier", id)
	text(&b, 1, "PayloadOrganization", p.Organization)
	b.WriteString("\t<key>PayloadRemovalDisallowed</key>\n\t<false/>\n")
	text(&b, 1, "PayloadType", "Configuration")
	text(&b, 1, "PayloadUUID", outer)
	b.WriteString("\t<key>PayloadVersion</key>\n\t<integer>1</integer>\n</dict>\n</plist>\n")
	return b.Bytes()
}

func text(b *bytes.Buffer, depth int, key, value string) {
	tabs := strings.Repeat("\t", depth)
	b.WriteString(tabs + "<key>" + key + "</key>\n" + tabs + "<string>")
	xml.EscapeText(b, []byte(value))
	b.WriteString("</string>\n")
}

// profileUUID derives a UUID of version 8 (RFC 9562, section 5.8) from the root, so that it is stable.
func profileUUID(what string, root []byte) string {
	h := sha256.Sum256(append([]byte("hearth profile "+what+"\x00"), root...))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80
	return strings.ToUpper(fmt.Sprintf("%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16]))
}
