package flows

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"

	"hearth.alt/services/claimcode"
)

// started keeps what a program says at its start.
type started struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *started) Write(p []byte) (int, error) { s.mu.Lock(); defer s.mu.Unlock(); return s.b.Write(p) }
func (s *started) String() string              { s.mu.Lock(); defer s.mu.Unlock(); return s.b.String() }
func (s *started) has(text string) bool        { return strings.Contains(s.String(), text) }

// streams puts the TCP streams of a capture (libpcap's file format, Ethernet) together: each direction of a connection
// is one of them.
func streams(t *testing.T, path string) [][]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	fail(t, err, "reading the capture")
	if len(b) < 24 || binary.LittleEndian.Uint32(b) != 0xa1b2c3d4 || binary.LittleEndian.Uint32(b[20:]) != 1 {
		t.Fatal("this is no capture of an Ethernet")
	}
	type segment struct {
		seq  uint32
		data []byte
	}
	flows := map[string][]segment{}
	var order []string
	for b = b[24:]; len(b) >= 16; {
		n := int(binary.LittleEndian.Uint32(b[8:]))
		if len(b) < 16+n {
			break
		}
		p := b[16 : 16+n]
		b = b[16+n:]
		if len(p) < 14 {
			continue
		}
		kind := binary.BigEndian.Uint16(p[12:])
		p = p[14:]
		var ends string
		switch {
		case kind == 0x0800 && len(p) >= 20 && p[9] == 6:
			ends = string(p[12:20])
			total, head := int(binary.BigEndian.Uint16(p[2:])), int(p[0]&15)*4
			if total == 0 || total > len(p) { // segmentation was left to the card
				total = len(p)
			}
			if total < head {
				continue
			}
			p = p[head:total]
		case kind == 0x86dd && len(p) >= 40 && p[6] == 6:
			ends = string(p[8:40])
			p = p[40:]
		default:
			continue
		}
		if len(p) < 20 || len(p) < int(p[12]>>4)*4 {
			continue
		}
		id := ends + string(p[:4])
		seq, syn := binary.BigEndian.Uint32(p[4:]), p[13]&2 != 0
		if syn {
			continue
		}
		data := p[int(p[12]>>4)*4:]
		if len(data) == 0 {
			continue
		}
		if flows[id] == nil {
			order = append(order, id)
		}
		flows[id] = append(flows[id], segment{seq, data})
	}
	var out [][]byte
	for _, id := range order {
		list := flows[id]
		first := list[0].seq
		for _, s := range list {
			if int32(s.seq-first) < 0 {
				first = s.seq
			}
		}
		sort.SliceStable(list, func(i, j int) bool { return list[i].seq-first < list[j].seq-first })
		var all []byte
		for _, s := range list {
			at := int(s.seq - first)
			switch {
			case at > len(all):
				all = append(all, s.data...) // a hole of the capture; what follows counts all the same
			case at+len(s.data) > len(all):
				all = append(all, s.data[len(all)-at:]...)
			}
		}
		out = append(out, all)
	}
	return out
}

// message is one HTTP request or answer of the capture.
type message struct {
	header http.Header
	body   []byte // without chunks and gzip
}

// messages reads the HTTP of a stream; what is none yields none.
func messages(stream []byte) []message {
	var out []message
	r := bufio.NewReader(bytes.NewReader(stream))
	for {
		start, err := r.Peek(5)
		if err != nil {
			return out
		}
		var header http.Header
		var body io.ReadCloser
		if string(start) == "HTTP/" {
			a, err := http.ReadResponse(r, nil)
			if err != nil {
				return out
			}
			header, body = a.Header, a.Body
		} else {
			q, err := http.ReadRequest(r)
			if err != nil {
				return out
			}
			header, body = q.Header, q.Body
		}
		all, _ := io.ReadAll(body)
		if header.Get("Content-Encoding") == "gzip" {
			if z, err := gzip.NewReader(bytes.NewReader(all)); err == nil {
				all, _ = io.ReadAll(z)
			}
		}
		out = append(out, message{header, all})
	}
}

// secrets is what must not cross the network open.
type secrets struct {
	password string
	words    []string
	code     string
	keys     [][]byte // private keys of WireGuard
	state    string   // the box's state root, whose secrets count, too
	works    func(name, value string) bool
}

// keysOf reads the private key of a stock app's text.
func keysOf(stock string) [][]byte {
	m := regexp.MustCompile(`PrivateKey\s*=\s*(\S+)`).FindStringSubmatch(stock)
	if m == nil {
		return nil
	}
	b, err := base64.StdEncoding.DecodeString(m[1])
	if err != nil {
		return nil
	}
	return [][]byte{b}
}

// forms lists how a secret may be written: as it is, in URLs, in JSON and HTML, hex, and base64 at each of the three
// places it may begin at.
func forms(secret []byte) [][]byte {
	s := string(secret)
	all := []string{
		s, url.QueryEscape(s), url.PathEscape(s), hex.EncodeToString(secret), strings.ToUpper(hex.EncodeToString(secret)),
		strings.ReplaceAll(strings.ReplaceAll(s, "&", "&amp;"), "'", "&#39;"),
	}
	for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for shift := range 3 {
			e := alphabet.EncodeToString(append(make([]byte, shift), secret...))
			// The first and last digits mix with what stands beside it.
			from, to := []int{0, 2, 3}[shift], len(e)-2
			if to-from >= 10 {
				all = append(all, e[from:to])
			}
		}
	}
	var out [][]byte
	for _, a := range all {
		if len(a) >= 8 {
			out = append(out, []byte(a))
		}
	}
	return out
}

var tag = regexp.MustCompile(`<[^>]*>`)

// inOrder says whether three words that follow one another in the list stand so in text, whatever is between them.
func inOrder(text string, words []string) string {
	tokens := regexp.MustCompile(`[a-z]+`).FindAllString(strings.ToLower(tag.ReplaceAllString(text, " ")), -1)
	for i, tok := range tokens {
		for w := 0; w+2 < len(words); w++ {
			if tok == words[w] && near(tokens[i+1:], words[w+1], words[w+2]) {
				return strings.Join(words[w:w+3], " ")
			}
		}
	}
	return ""
}

func near(tokens []string, a, b string) bool {
	const reach = 4
	for i := 0; i < min(reach, len(tokens)); i++ {
		if tokens[i] != a {
			continue
		}
		for j := i + 1; j < min(i+1+reach, len(tokens)); j++ {
			if tokens[j] == b {
				return true
			}
		}
	}
	return false
}

// in lists what of the secrets a capture holds.
func (s secrets) in(t *testing.T, pcap string) []string {
	t.Helper()
	raw, err := os.ReadFile(pcap)
	fail(t, err, "reading the capture")
	needles := map[string][][]byte{"the password": forms([]byte(s.password))}
	code, err := claimcode.Parse(s.code)
	fail(t, err, "reading the claim code")
	bare := strings.ReplaceAll(code.Text(), "-", "")
	for _, text := range []string{code.Text(), strings.ToLower(code.Text()), bare, strings.ToLower(bare), strings.Join(code.Words(), " ")} {
		needles["the claim secret"] = append(needles["the claim secret"], forms([]byte(text))...)
	}
	needles["the key of the seal"] = forms(code.PSK().Reveal())
	for _, k := range s.keys {
		needles["a device's private key"] = append(needles["a device's private key"], forms(k)...)
		needles["a device's private key"] = append(needles["a device's private key"], forms([]byte(base64.StdEncoding.EncodeToString(k)))...)
	}
	files := 0
	fail(t, filepath.WalkDir(filepath.Join(s.state, "secrets"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil && len(b) >= 16 && len(b) <= 4096 {
			files++
			needles["the box's secret "+d.Name()] = forms(b)
			if len(b) >= 64 { // a key with something around it
				needles["the box's secret "+d.Name()] = append(needles["the box's secret "+d.Name()], forms(b[len(b)-48:len(b)-16])...)
			}
		}
		return err
	}), "reading the box's secrets")
	if files == 0 {
		t.Error("the box has no secrets; the capture is not compared with them")
	}
	hay := [][]byte{raw}
	var cookies []*http.Cookie
	all := streams(t, pcap)
	requests := 0
	for _, stream := range all {
		hay = append(hay, stream)
		for _, m := range messages(stream) {
			requests++
			hay = append(hay, m.body)
			if decoded, err := url.QueryUnescape(string(m.body)); err == nil {
				hay = append(hay, []byte(decoded))
			}
			cookies = append(cookies, (&http.Response{Header: m.header}).Cookies()...)
			cookies = append(cookies, (&http.Request{Header: m.header}).Cookies()...)
		}
	}
	if requests < 10 {
		t.Errorf("the capture holds %d HTTP messages; there must be more", requests)
	}
	found := map[string]bool{}
	for _, h := range hay {
		for what, list := range needles {
			for _, n := range list {
				if bytes.Contains(h, n) {
					found[what] = true
				}
			}
		}
		if w := inOrder(string(h), s.words); w != "" {
			found["recovery words in their order"] = true
		}
	}
	tried := map[string]bool{}
	for _, c := range cookies {
		if c.Value == "" || tried[c.Name+"="+c.Value] {
			continue
		}
		tried[c.Name+"="+c.Value] = true
		if s.works(c.Name, c.Value) {
			found["a cookie that works: "+c.Name] = true
		}
	}
	t.Attr("figure", fmt.Sprintf("the capture: %d bytes, %d streams, %d HTTP messages, %d cookies tried", len(raw), len(all), requests, len(tried)))
	var out []string
	for what := range found {
		out = append(out, what)
	}
	sort.Strings(out)
	return out
}

// cookieWorks says whether a cookie's value, under any name of ours, opens a page for those who are signed in.
func cookieWorks(t *testing.T, f *flat, name, value string) bool {
	t.Helper()
	client := f.phone.Client()
	client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // whose box it is does not matter here
	for _, as := range []string{name, "hearth", "__Host-hearth"} {
		for _, from := range []string{"https://" + f.box.String() + "/devices", "http://" + f.box.String() + "/devices"} {
			r, err := http.NewRequestWithContext(t.Context(), "GET", from, nil)
			fail(t, err, "asking")
			r.AddCookie(&http.Cookie{Name: as, Value: value})
			a, err := client.Do(r)
			if err != nil {
				continue
			}
			a.Body.Close()
			if a.StatusCode == http.StatusOK {
				return true
			}
		}
	}
	return false
}

// TestDetectorSees is the control of the capture test: the same claim, first phone included, without a seal. What must
// not be found there is found here.
func TestDetectorSees(t *testing.T) {
	f := newFlat(t, "127.0.0.1:80", "lo")
	v := visit(t, "http://127.0.0.1", socks(t, f.host, nil), chromedp.Flag("proxy-bypass-list", "<-loopback>"))
	v.open("/claim#" + f.b.Code())
	v.fill("code", f.b.Code())
	v.main()
	v.names()
	v.main()
	words := v.words()
	v.fill("written", "yes")
	v.main()
	v.check(words)
	v.main()
	v.fill("name", "Ann’s phone")
	v.main()
	stock := v.scan()
	f.stopTap()
	s := secrets{
		password: password, words: words, code: f.b.Code(), keys: keysOf(stock), state: f.b.State,
		works: func(name, value string) bool { return cookieWorks(t, f, name, value) },
	}
	found := strings.Join(s.in(t, f.pcap), "; ")
	for _, want := range []string{"the password", "the claim secret", "a device's private key", "recovery words", "a cookie that works"} {
		if !strings.Contains(found, want) {
			t.Errorf("the detector does not see %s; it saw %s", want, found)
		}
	}
}
