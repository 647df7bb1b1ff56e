package firewall_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hearth.alt/services"
	"hearth.alt/services/firewall"
)

// nftList is what nft prints for all tables, with the line breaks inside element lists taken out.
func nftList(t *testing.T, h *host) string {
	t.Helper()
	return regexp.MustCompile(`,\n\s+`).ReplaceAllString(h.run(t, "nft", "list", "ruleset"), ", ")
}

func apply(t *testing.T, h *host, s firewall.State) {
	t.Helper()
	var err error
	h.do(func() { err = firewall.Apply(t.Context(), s) })
	if err != nil {
		t.Fatal(err)
	}
}

func TestTextIsWhatTheKernelHas(t *testing.T) {
	for name, s := range states() {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, name)
			apply(t, h, s)
			if d := cmp.Diff(firewall.Compose(s).String(), nftList(t, h)); d != "" {
				t.Errorf("(-composed +nft list ruleset)\n%s", d)
			}
		})
	}
}

func TestApplyIsIdempotentAndMends(t *testing.T) {
	h := newHost(t, "box")
	s := family()
	handles := func() string { return h.run(t, "nft", "-a", "list", "table", "inet", "hearth") }
	apply(t, h, s)
	first := handles()
	apply(t, h, s)
	if d := cmp.Diff(first, handles()); d != "" {
		t.Errorf("a second apply of the same state wrote something:\n%s", d)
	}

	t.Run("a new device changes elements only", func(t *testing.T) {
		s := family()
		s.Devices = append(s.Devices[1:], device(40, ben, services.RoleMember, true))
		apply(t, h, s)
		strip := regexp.MustCompile(`(?s)\t(set|map) .*?\n\t}\n`)
		if d := cmp.Diff(strip.ReplaceAllString(first, ""), strip.ReplaceAllString(handles(), "")); d != "" {
			t.Errorf("rules were written anew:\n%s", d)
		}
		if d := cmp.Diff(firewall.Compose(s).String(), nftList(t, h)); d != "" {
			t.Errorf("(-composed +kernel)\n%s", d)
		}
		apply(t, h, family())
	})

	for name, meddle := range map[string]string{
		"a rule added":      "insert rule inet hearth input accept",
		"a rule gone":       "flush chain inet hearth from_tunnel",
		"a policy opened":   "chain inet hearth forward { policy accept; }",
		"an element added":  "add element inet hearth device4 { 10.7.3.99 }",
		"an element gone":   "delete element inet hearth device6 { fd07:1:2::a }",
		"another owner":     "delete element inet hearth owner4 { 10.7.3.20 }; add element inet hearth owner4 { 10.7.3.20 : 0x01000001 }",
		"a set added":       "add set inet hearth more { type ipv4_addr; }",
		"a chain added":     "add chain inet hearth more",
		"a flushed ruleset": "flush ruleset",
	} {
		t.Run(name, func(t *testing.T) {
			apply(t, h, s)
			h.run(t, "nft", meddle)
			var err error
			h.do(func() { err = firewall.Verify(s) })
			if !errors.Is(err, firewall.ErrReadBack) {
				t.Errorf("Verify says %v, want ErrReadBack", err)
			}
			apply(t, h, s)
			if d := cmp.Diff(firewall.Compose(s).String(), nftList(t, h)); d != "" {
				t.Errorf("not mended (-composed +kernel)\n%s", d)
			}
		})
	}
}

func TestFullHouse(t *testing.T) {
	h := newHost(t, "box")
	s := family()
	s.Net4, s.Devices = netip.MustParsePrefix("10.7.3.0/24"), nil
	for i := range firewall.MaxDevices {
		s.Devices = append(s.Devices, device(i+2, anna, services.RoleOwner, true))
	}
	start := time.Now()
	apply(t, h, s)
	t.Logf("%d devices: first apply %v", len(s.Devices), time.Since(start))
	s.Devices = s.Devices[1:]
	start = time.Now()
	apply(t, h, s)
	t.Logf("one device less: %v", time.Since(start))
	start = time.Now()
	apply(t, h, s)
	t.Logf("nothing new: %v", time.Since(start))
}

func TestLaptopLeavesOtherTablesAndSettings(t *testing.T) {
	h := newHost(t, "laptop")
	foreign := "table inet filter { set mine { type ipv4_addr; elements = { 192.0.2.1 } }; chain input { type filter hook input priority 0; policy accept; tcp dport 22 counter accept; }; }; table ip hearth { chain c { counter; }; }; table inet hearth { chain theirs { accept; }; }"
	h.run(t, "nft", foreign)
	h.ip(t, "link add hearth3 type veth peer name other")
	before := nftList(t, h)
	settings := func() string {
		// Values that only count or that a new interface brings are left out by asking for what forwards and filters.
		return h.run(t, "sh", "-c", "grep -s . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv[46]/conf/*/forwarding /proc/sys/net/ipv[46]/conf/*/accept_ra /proc/sys/net/ipv4/conf/*/rp_filter | grep -v hearth3")
	}
	was := settings()
	s := states()["laptop"]
	apply(t, h, s)
	if d := cmp.Diff(was, settings()); d != "" {
		t.Errorf("settings changed:\n%s", d)
	}
	if got := strings.TrimSpace(h.run(t, "cat", "/proc/sys/net/ipv4/conf/hearth3/forwarding")); got != "1" {
		t.Errorf("the TUN forwards IPv4: %s, want 1", got)
	}
	if d := cmp.Diff(before+firewall.Compose(s).String(), nftList(t, h)); d != "" {
		t.Errorf("other tables changed:\n%s", d)
	}
	s.Devices = s.Devices[:1]
	apply(t, h, s)
	var err error
	h.do(func() { err = errors.Join(firewall.Remove(s), firewall.Remove(s)) })
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, nftList(t, h)); d != "" {
		t.Errorf("after removing (-before +after):\n%s", d)
	}
}

// house is the lab of the packet tests. The cable "hearth0" stands for the TUN: what comes out of it at the box has
// passed WireGuard. All phones sit behind it; lan is a machine on the home network, with a default route elsewhere.
//
//	phones ── hearth0 [box] eth0 ── lan
type house struct {
	phones, box, lan *host
	state            firewall.State
}

func newHouse(t *testing.T) *house {
	h := &house{phones: newHost(t, "phones"), box: newHost(t, "box"), lan: newHost(t, "lan"), state: family()}
	cable(t, h.phones, "tun", h.box, "hearth0")
	cable(t, h.box, "eth0", h.lan, "eth0")
	h.box.ip(t, "addr add 10.7.3.1/24 dev hearth0")
	h.box.ip(t, "addr add fd07:1:2::1/48 dev hearth0 nodad")
	h.box.ip(t, "addr add 192.168.1.2/24 dev eth0")
	h.box.ip(t, "addr add 2001:db8:5::2/64 dev eth0 nodad")
	h.lan.ip(t, "addr add 192.168.1.9/24 dev eth0")
	h.lan.ip(t, "addr add 2001:db8:5::9/64 dev eth0 nodad")
	h.lan.ip(t, "addr add 203.0.113.9/32 dev lo") // somebody on the Internet
	h.lan.ip(t, "addr add 2001:db8:ffff::9/128 dev lo nodad")
	h.box.ip(t, "route add default via 192.168.1.9")
	h.box.ip(t, "route add default via 2001:db8:5::9")
	// A neighbour who knows where the tunnel is.
	h.lan.ip(t, "route add 10.7.3.0/24 via 192.168.1.2")
	h.lan.ip(t, "route add fd07:1:2::/48 via 2001:db8:5::2")
	// A /32 and host routes make the phones talk through the box even to one another, as the tunnel does; a real TUN
	// knows no neighbours, so theirs are written down.
	boxMAC, phonesMAC := h.box.mac(t, "hearth0"), h.phones.mac(t, "tun")
	for _, n := range []int{10, 11, 20, 30, 99} {
		h.phones.ip(t, "addr add 10.7.3.%d/32 dev tun", n)
		h.phones.ip(t, "addr add fd07:1:2::%x/128 dev tun nodad", n)
		h.box.ip(t, "neigh replace 10.7.3.%d lladdr %s dev hearth0", n, phonesMAC)
		h.box.ip(t, "neigh replace fd07:1:2::%x lladdr %s dev hearth0", n, phonesMAC)
	}
	h.phones.ip(t, "neigh replace 10.7.3.1 lladdr %s dev tun", boxMAC)
	h.phones.ip(t, "neigh replace fd07:1:2::1 lladdr %s dev tun", boxMAC)
	h.phones.ip(t, "route add 10.7.3.1/32 dev tun")
	h.phones.ip(t, "route add default via 10.7.3.1 dev tun onlink")
	h.phones.ip(t, "route add fd07:1:2::1/128 dev tun")
	h.phones.ip(t, "route add default via fd07:1:2::1 dev tun onlink")
	apply(t, h.box, h.state)
	return h
}

var samples = []int{1, 22, 25, 53, 80, 139, 443, 445, 631, 853, 993, 1080, 3000, 5353, 8080, 8443, 9100, 32400, 41820, 51820, 65535}

// serve echoes TCP on all sample ports of a host, and counts the bytes that arrive.
func serve(t *testing.T, h *host) *atomic.Int64 {
	t.Helper()
	var err error
	var arrived atomic.Int64
	h.do(func() {
		for _, port := range samples {
			l, e := net.Listen("tcp", fmt.Sprintf(":%d", port))
			if e != nil {
				err = e
				return
			}
			t.Cleanup(func() { l.Close() })
			go func() {
				for {
					c, e := l.Accept()
					if e != nil {
						return
					}
					t.Cleanup(func() { c.Close() })
					go echo(c, &arrived)
				}
			}()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return &arrived
}

func echo(c net.Conn, arrived *atomic.Int64) {
	b := make([]byte, 4096)
	for {
		n, err := c.Read(b)
		if err != nil {
			return
		}
		arrived.Add(int64(n))
		if _, err := c.Write(b[:n]); err != nil {
			return
		}
	}
}

// reaches says whether a TCP connection is made. A refused one has reached a kernel that answered: that counts.
func reaches(h *host, source, target string, port int) bool {
	ok := false
	h.do(func() {
		d := net.Dialer{Timeout: 150 * time.Millisecond, LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
		c, err := d.Dial("tcp", net.JoinHostPort(target, fmt.Sprint(port)))
		if err == nil {
			c.Close()
		}
		var timeout net.Error
		ok = err == nil || !(errors.As(err, &timeout) && timeout.Timeout())
	})
	return ok
}

// open lists the sample ports of target that are reached from source.
func open(h *host, source, target string) []int {
	out := []int{}
	type result struct {
		port int
		ok   bool
	}
	results := make(chan result)
	for _, p := range samples {
		go func() { results <- result{p, reaches(h, source, target, p)} }()
	}
	ok := map[int]bool{}
	for range samples {
		r := <-results
		ok[r.port] = r.ok
	}
	for _, p := range samples {
		if ok[p] {
			out = append(out, p)
		}
	}
	return out
}

func TestWhoReachesWhat(t *testing.T) {
	h := newHouse(t)
	serve(t, h.box)
	serve(t, h.lan)
	serve(t, h.phones)
	tunnel, members, home, boxes, all, none := []int{53, 80, 443}, []int{53, 80, 443, 853}, []int{53, 80, 443, 41820}, []int{41820}, samples, []int{}
	for _, c := range []struct {
		name           string
		from           *host
		source, target string
		want           []int
	}{
		{"owner to box", h.phones, "10.7.3.10", "10.7.3.1", members},
		{"owner to box v6", h.phones, "fd07:1:2::a", "fd07:1:2::1", members},
		{"guest to box", h.phones, "10.7.3.30", "10.7.3.1", tunnel},
		{"guest to box v6", h.phones, "fd07:1:2::1e", "fd07:1:2::1", tunnel},
		{"owner to the box's home address", h.phones, "10.7.3.10", "192.168.1.2", none},
		{"guest to the box's home address", h.phones, "10.7.3.30", "192.168.1.2", none},
		{"guest to the box's home address v6", h.phones, "fd07:1:2::1e", "2001:db8:5::2", none},
		{"owner to home network", h.phones, "10.7.3.10", "192.168.1.9", all},
		{"owner to home network v6", h.phones, "fd07:1:2::a", "2001:db8:5::9", all},
		{"owner to the Internet", h.phones, "10.7.3.10", "203.0.113.9", none},
		{"owner to the Internet v6", h.phones, "fd07:1:2::a", "2001:db8:ffff::9", none},
		{"member without LAN to home network", h.phones, "10.7.3.20", "192.168.1.9", none},
		{"member without LAN to home network v6", h.phones, "fd07:1:2::14", "2001:db8:5::9", none},
		{"guest to home network", h.phones, "10.7.3.30", "192.168.1.9", none},
		{"guest to home network v6", h.phones, "fd07:1:2::1e", "2001:db8:5::9", none},
		{"spoofed source to box", h.phones, "10.7.3.99", "10.7.3.1", none},
		{"spoofed source to box v6", h.phones, "fd07:1:2::63", "fd07:1:2::1", none},
		{"spoofed source to home network", h.phones, "10.7.3.99", "192.168.1.9", none},
		{"spoofed source to home network v6", h.phones, "fd07:1:2::63", "2001:db8:5::9", none},
		{"home network to box", h.lan, "192.168.1.9", "192.168.1.2", home},
		{"home network to box v6", h.lan, "2001:db8:5::9", "2001:db8:5::2", home},
		{"Internet to box", h.lan, "203.0.113.9", "192.168.1.2", boxes},
		{"Internet to box v6", h.lan, "2001:db8:ffff::9", "2001:db8:5::2", boxes},
		{"home network to the tunnel's listeners", h.lan, "192.168.1.9", "10.7.3.1", none},
		{"home network to the tunnel's listeners v6", h.lan, "2001:db8:5::9", "fd07:1:2::1", none},
		{"home network to a device", h.lan, "192.168.1.9", "10.7.3.10", none},
		{"home network to a device v6", h.lan, "2001:db8:5::9", "fd07:1:2::a", none},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, open(c.from, c.source, c.target)); d != "" {
				t.Errorf("open ports (-want +got)\n%s", d)
			}
		})
	}

	t.Run("neighbour speaks as a device", func(t *testing.T) {
		h.lan.ip(t, "addr add 10.7.3.10/32 dev lo")
		defer h.lan.ip(t, "addr del 10.7.3.10/32 dev lo")
		h.lan.ip(t, "addr add fd07:1:2::a/128 dev lo nodad")
		defer h.lan.ip(t, "addr del fd07:1:2::a/128 dev lo")
		// The answers would go into the tunnel, so it is the datagram's arrival that tells.
		if datagram(t, h.lan, "10.7.3.10", h.box, "192.168.1.2", 5353) || datagram(t, h.lan, "fd07:1:2::a", h.box, "2001:db8:5::2", 5353) {
			t.Error("it is believed")
		}
	})
}

// TestLabIsOpenWithoutRules shows that the other packet tests would notice: with no rules at all everybody reaches
// everything in this lab.
func TestLabIsOpenWithoutRules(t *testing.T) {
	h := newHouse(t)
	h.box.run(t, "nft", "flush", "ruleset")
	serve(t, h.box)
	serve(t, h.lan)
	for _, c := range []struct {
		from           *host
		source, target string
	}{
		{h.phones, "10.7.3.30", "10.7.3.1"}, {h.phones, "fd07:1:2::1e", "fd07:1:2::1"},
		{h.phones, "10.7.3.30", "192.168.1.2"}, {h.phones, "10.7.3.30", "192.168.1.9"}, {h.phones, "fd07:1:2::1e", "2001:db8:5::9"},
		{h.phones, "10.7.3.99", "10.7.3.1"}, {h.phones, "fd07:1:2::63", "2001:db8:5::9"}, {h.phones, "10.7.3.10", "203.0.113.9"},
		{h.lan, "203.0.113.9", "192.168.1.2"}, {h.lan, "192.168.1.9", "10.7.3.1"}, {h.lan, "2001:db8:5::9", "fd07:1:2::1"}, {h.lan, "192.168.1.9", "10.7.3.10"},
	} {
		if got := open(c.from, c.source, c.target); len(got) != len(samples) {
			t.Errorf("%s to %s: only %v are open", c.source, c.target, got)
		}
	}
	if !crosses(t, h, "10.7.3.30", "10.7.3.10") || !crosses(t, h, "fd07:1:2::1e", "fd07:1:2::a") {
		t.Error("devices do not reach one another")
	}
}

// datagram sends one UDP datagram and says whether target's socket got it.
func datagram(t *testing.T, from *host, source string, to *host, target string, port int) bool {
	t.Helper()
	var in net.PacketConn
	var err error
	to.do(func() { in, err = net.ListenPacket("udp", net.JoinHostPort(target, fmt.Sprint(port))) })
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	from.do(func() {
		var c net.Conn
		d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(source)}}
		if c, err = d.Dial("udp", net.JoinHostPort(target, fmt.Sprint(port))); err == nil {
			_, err = c.Write([]byte("hello"))
			c.Close()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	in.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	_, _, err = in.ReadFrom(make([]byte, 16))
	return err == nil
}

func TestDatagrams(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		name           string
		from           *host
		source, target string
		port           int
		want           bool
	}{
		{"guest DNS", h.phones, "10.7.3.30", "10.7.3.1", 53, true},
		{"guest DNS v6", h.phones, "fd07:1:2::1e", "fd07:1:2::1", 53, true},
		{"guest mDNS", h.phones, "10.7.3.30", "10.7.3.1", 5353, false},
		{"owner mDNS", h.phones, "fd07:1:2::a", "fd07:1:2::1", 5353, false},
		{"owner to WireGuard inside itself", h.phones, "10.7.3.10", "10.7.3.1", 51820, false},
		{"home mDNS", h.lan, "192.168.1.9", "192.168.1.2", 5353, true},
		{"Internet DNS", h.lan, "203.0.113.9", "192.168.1.2", 53, false},
		{"Internet DNS v6", h.lan, "2001:db8:ffff::9", "2001:db8:5::2", 53, false},
		{"Internet WireGuard", h.lan, "203.0.113.9", "192.168.1.2", 51820, true},
		{"Internet WireGuard v6", h.lan, "2001:db8:ffff::9", "2001:db8:5::2", 51820, true},
		{"Internet mesh", h.lan, "203.0.113.9", "192.168.1.2", 41820, true},
		{"home DNS", h.lan, "192.168.1.9", "192.168.1.2", 53, true},
		{"Internet mDNS", h.lan, "203.0.113.9", "192.168.1.2", 5353, false},
	} {
		if got := datagram(t, c.from, c.source, h.box, c.target, c.port); got != c.want {
			t.Errorf("%s: arrived %v, want %v", c.name, got, c.want)
		}
	}
}

func TestDevicesAmongThemselves(t *testing.T) {
	h := newHouse(t)
	// The phones are one host here, so each destination address is moved to a host of its own behind the same cable
	// end: a packet that the box sends back into the tunnel is what counts, and a datagram to a bound address shows it.
	for _, c := range []struct {
		name     string
		from, to int
		want     bool
	}{
		{"owner to own other device", 10, 11, true},
		{"owner to member", 10, 20, false},
		{"member to owner", 20, 10, false},
		{"guest to owner", 30, 10, false},
		{"owner to guest", 10, 30, false},
		{"spoofed to owner", 99, 10, false},
	} {
		for _, v6 := range []bool{false, true} {
			src, dst := fmt.Sprintf("10.7.3.%d", c.from), fmt.Sprintf("10.7.3.%d", c.to)
			if v6 {
				src, dst = fmt.Sprintf("fd07:1:2::%x", c.from), fmt.Sprintf("fd07:1:2::%x", c.to)
			}
			if got := crosses(t, h, src, dst); got != c.want {
				t.Errorf("%s, %s to %s: crosses %v, want %v", c.name, src, dst, got, c.want)
			}
		}
	}
}

// crosses sends a datagram that a device in the tunnel would send to another one, and says whether the box sends it
// into the tunnel again. The two ends share a host, so the datagram is written as a frame.
func crosses(t *testing.T, h *house, src, dst string) bool {
	t.Helper()
	got := false
	h.phones.do(func() { got = frameCrosses(t, h, netip.MustParseAddr(src), netip.MustParseAddr(dst)) })
	return got
}

func TestRemovedDeviceLosesItsFlows(t *testing.T) {
	for name, c := range map[string]struct {
		source, target string
		change         func(*firewall.State)
	}{
		"removed, to the box": {"10.7.3.10", "10.7.3.1:80", func(s *firewall.State) { s.Devices = s.Devices[1:] }},
		"removed, v6":         {"fd07:1:2::a", "[fd07:1:2::1]:80", func(s *firewall.State) { s.Devices = s.Devices[1:] }},
		"removed, to home":    {"10.7.3.10", "192.168.1.9:8080", func(s *firewall.State) { s.Devices = s.Devices[1:] }},
		"LAN taken back":      {"10.7.3.10", "192.168.1.9:8080", func(s *firewall.State) { s.Devices[0].LAN = false }},
		"LAN taken back, v6":  {"fd07:1:2::a", "[2001:db8:5::9]:8080", func(s *firewall.State) { s.Devices[0].LAN = false }},
		"member made guest": {"10.7.3.10", "10.7.3.1:853", func(s *firewall.State) {
			s.Devices[0].Role, s.Devices[0].LAN, s.Devices[0].Peers = services.RoleGuest, false, false
		}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			atBox, atLAN := serve(t, h.box), serve(t, h.lan)
			var conn net.Conn
			var err error
			h.phones.do(func() {
				d := net.Dialer{Timeout: 2 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(c.source)}}
				conn, err = d.Dial("tcp", c.target)
			})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			say := func(wait time.Duration) error {
				conn.SetDeadline(time.Now().Add(wait))
				if _, err := conn.Write([]byte("x")); err != nil {
					return err
				}
				_, err := conn.Read(make([]byte, 1))
				return err
			}
			if err := say(2 * time.Second); err != nil {
				t.Fatalf("before: %v", err)
			}
			s := family()
			c.change(&s)
			apply(t, h.box, s)
			if err := say(600 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the flow goes on: %v", err)
			}
			if n := atBox.Load() + atLAN.Load(); n != 1 {
				t.Errorf("%d bytes arrived, want only the one of before", n)
			}
			// It was the rules and nothing else: given back, the same flow goes on.
			apply(t, h.box, family())
			conn.SetDeadline(time.Now().Add(5 * time.Second))
			if _, err := conn.Read(make([]byte, 1)); err != nil {
				t.Errorf("given back: %v", err)
			}
		})
	}
}

func TestSegmentSizeIsClamped(t *testing.T) {
	h := newHouse(t)
	h.box.ip(t, "link set hearth0 mtu 1280")
	serve(t, h.lan)
	h.phones.do(func() {
		d := net.Dialer{Timeout: 2 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP("10.7.3.10")}}
		c, err := d.Dial("tcp", "192.168.1.9:8080")
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if mss := maxSegment(t, c.(*net.TCPConn)); mss > 1240 {
			t.Errorf("the phone sends segments of %d bytes, want at most 1240 (MTU 1280 less 40)", mss)
		}
	})
}
