package netlab

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Stock is what a stock WireGuard app understands of a configuration text. ParseStock is as strict as the stricter of
// the two official parsers (iOS, Android): a key that either of them does not know is an error, as is a key said
// twice other than Address, AllowedIPs and DNS.
type Stock struct {
	PrivateKey [32]byte
	Address    []netip.Prefix
	DNS        []netip.Addr
	Search     []string // the entries of DNS that are names
	MTU        int      // bytes; 0 when not said (iOS then takes 1280)
	ListenPort uint16
	Peers      []StockPeer
}

// StockPeer is one [Peer] of a Stock.
type StockPeer struct {
	PublicKey    [32]byte
	PresharedKey [32]byte // zero when not said
	AllowedIPs   []netip.Prefix
	EndpointHost string // a name or a literal address; "" when not said
	EndpointPort uint16
	Keepalive    int // seconds; 0 is off
}

// ParseStock reads the text that a QR code holds.
func ParseStock(text string) (*Stock, error) {
	s := &Stock{}
	var section string
	var seen map[string]bool
	haveKey := false
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		fail := func(format string, args ...any) error {
			return fmt.Errorf("line %d: %s", i+1, fmt.Sprintf(format, args...))
		}
		switch strings.ToLower(line) {
		case "":
			continue
		case "[interface]":
			if section != "" {
				return nil, fail("[Interface] must be the first section, once")
			}
			section, seen = "interface", map[string]bool{}
			continue
		case "[peer]":
			if section == "" {
				return nil, fail("[Peer] before [Interface]")
			}
			section, seen = "peer", map[string]bool{}
			s.Peers = append(s.Peers, StockPeer{})
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
		if !ok || value == "" {
			return nil, fail("%q is not key = value", line)
		}
		if seen == nil {
			return nil, fail("%q before any section", key)
		}
		if seen[key] && !slices.Contains([]string{"address", "allowedips", "dns"}, key) {
			return nil, fail("%q is said twice", key)
		}
		seen[key] = true
		var err error
		if section == "interface" {
			haveKey = haveKey || key == "privatekey"
			err = s.interfaceKey(key, value)
		} else {
			err = s.Peers[len(s.Peers)-1].key(key, value)
		}
		if err != nil {
			return nil, fail("%v", err)
		}
	}
	if !haveKey {
		return nil, fmt.Errorf("no PrivateKey")
	}
	keys := map[[32]byte]bool{}
	for _, p := range s.Peers {
		if p.PublicKey == [32]byte{} {
			return nil, fmt.Errorf("a peer without PublicKey")
		}
		if keys[p.PublicKey] {
			return nil, fmt.Errorf("two peers with one PublicKey")
		}
		keys[p.PublicKey] = true
	}
	return s, nil
}

func (s *Stock) interfaceKey(key, value string) (err error) {
	switch key {
	case "privatekey":
		s.PrivateKey, err = stockKey(value)
	case "address":
		s.Address, err = stockPrefixes(s.Address, value)
	case "dns":
		for _, f := range strings.Split(value, ",") {
			f = strings.TrimSpace(f)
			if a, err := netip.ParseAddr(f); err == nil {
				s.DNS = append(s.DNS, a)
			} else if f == "" || strings.ContainsAny(f, " /:") {
				return fmt.Errorf("DNS %q is neither an address nor a name", f)
			} else {
				s.Search = append(s.Search, f)
			}
		}
	case "mtu":
		s.MTU, err = number(value, 576, 65535)
	case "listenport":
		var n int
		n, err = number(value, 0, 65535)
		s.ListenPort = uint16(n)
	default:
		err = fmt.Errorf("[Interface] has no key %q in a stock app", key)
	}
	return err
}

func (p *StockPeer) key(key, value string) (err error) {
	switch key {
	case "publickey":
		p.PublicKey, err = stockKey(value)
	case "presharedkey":
		p.PresharedKey, err = stockKey(value)
	case "allowedips":
		p.AllowedIPs, err = stockPrefixes(p.AllowedIPs, value)
	case "endpoint":
		host, port, e := net.SplitHostPort(value)
		if e != nil || host == "" {
			return fmt.Errorf("endpoint %q is not host:port", value)
		}
		n, e := number(port, 1, 65535)
		p.EndpointHost, p.EndpointPort, err = host, uint16(n), e
	case "persistentkeepalive":
		if value != "off" {
			p.Keepalive, err = number(value, 0, 65535)
		}
	default:
		err = fmt.Errorf("[Peer] has no key %q in a stock app", key)
	}
	return err
}

func number(s string, low, high int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("%q is not a number from %d to %d", s, low, high)
	}
	return n, nil
}

func stockKey(s string) (k [32]byte, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != 32 {
		return k, fmt.Errorf("a key is 44 characters of base64")
	}
	return [32]byte(b), nil
}

func stockPrefixes(list []netip.Prefix, s string) ([]netip.Prefix, error) {
	for _, f := range strings.Split(s, ",") {
		f = strings.TrimSpace(f)
		p, err := netip.ParsePrefix(f)
		if err != nil {
			a, e := netip.ParseAddr(f)
			if e != nil {
				return nil, fmt.Errorf("%q is not an address range", f)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		list = append(list, p)
	}
	return list, nil
}

// uapi is the configuration in the words of WireGuard's cross-platform interface. resolve turns an endpoint's name
// into its address, once, as the stock apps do.
func (s *Stock) uapi(resolve func(string) (netip.Addr, error)) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "private_key=%s\n", hex.EncodeToString(s.PrivateKey[:]))
	if s.ListenPort != 0 {
		fmt.Fprintf(&b, "listen_port=%d\n", s.ListenPort)
	}
	b.WriteString("replace_peers=true\n")
	for _, p := range s.Peers {
		fmt.Fprintf(&b, "public_key=%s\nreplace_allowed_ips=true\n", hex.EncodeToString(p.PublicKey[:]))
		if p.PresharedKey != ([32]byte{}) {
			fmt.Fprintf(&b, "preshared_key=%s\n", hex.EncodeToString(p.PresharedKey[:]))
		}
		if p.EndpointHost != "" {
			a, err := netip.ParseAddr(p.EndpointHost)
			if err != nil {
				if a, err = resolve(p.EndpointHost); err != nil {
					return "", err
				}
			}
			fmt.Fprintf(&b, "endpoint=%s\n", netip.AddrPortFrom(a, p.EndpointPort))
		}
		if p.Keepalive != 0 {
			fmt.Fprintf(&b, "persistent_keepalive_interval=%d\n", p.Keepalive)
		}
		for _, a := range p.AllowedIPs {
			fmt.Fprintf(&b, "allowed_ip=%s\n", a.Masked())
		}
	}
	return b.String(), nil
}
