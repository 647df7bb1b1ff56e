package firewall_test

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hearth.alt/services"
	"hearth.alt/services/firewall"
)

var update = flag.Bool("update", false, "write the golden files anew")

const (
	anna  = services.PersonID("aaaaaaaaaaaaaaaa")
	ben   = services.PersonID("bbbbbbbbbbbbbbbb")
	guest = services.PersonID("gggggggggggggggg")
)

func device(n int, p services.PersonID, r services.Role, lan bool) firewall.Device {
	return firewall.Device{
		Addr4: netip.MustParseAddr(fmt.Sprintf("10.7.3.%d", n)), Addr6: netip.MustParseAddr(fmt.Sprintf("fd07:1:2::%x", n)),
		Person: p, Role: r, LAN: lan, Peers: r > services.RoleGuest,
	}
}

// family is a household with Anna (owner, two devices, LAN), Ben (member, one device, no LAN) and a guest.
func family() firewall.State {
	return firewall.State{
		Device: true, TUN: "hearth0", LAN: []string{"eth0"},
		Networks: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("2001:db8:5::/64")},
		Net4:     netip.MustParsePrefix("10.7.3.0/24"), Net6: netip.MustParsePrefix("fd07:1:2::/48"),
		Box4: netip.MustParseAddr("10.7.3.1"), Box6: netip.MustParseAddr("fd07:1:2::1"),
		Anywhere: firewall.DeviceAnywhere(), Home: firewall.DeviceHome(), Tunnel: firewall.DeviceTunnel(),
		Members: []firewall.Port{{Proto: firewall.TCP, Port: 853}},
		Devices: []firewall.Device{
			device(10, anna, services.RoleOwner, true), device(11, anna, services.RoleOwner, true),
			device(20, ben, services.RoleMember, false), device(30, guest, services.RoleGuest, false),
		},
	}
}

func states() map[string]firewall.State {
	laptop := family()
	laptop.Device, laptop.TUN, laptop.LAN = false, "hearth3", nil
	unclaimed := firewall.State{Device: true, Anywhere: firewall.DeviceAnywhere(), Home: firewall.DeviceHome()}
	return map[string]firewall.State{"device": family(), "laptop": laptop, "unclaimed": unclaimed}
}

func TestGoldenPlans(t *testing.T) {
	for name, s := range states() {
		t.Run(name, func(t *testing.T) {
			if err := s.Check(); err != nil {
				t.Fatal(err)
			}
			golden(t, name+".nft", firewall.Compose(s).String())
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got), refresh with -update:\n%s", name, d)
	}
}

func TestOrderDoesNotMatter(t *testing.T) {
	a, b := family(), family()
	slices.Reverse(b.Devices)
	slices.Reverse(b.Networks)
	slices.Reverse(b.Home)
	slices.Reverse(b.Tunnel)
	if d := cmp.Diff(firewall.Compose(a).String(), firewall.Compose(b).String()); d != "" {
		t.Errorf("(-one order +other order)\n%s", d)
	}
}

func TestLaptopWithoutTunnelHasNoRules(t *testing.T) {
	if got := firewall.Compose(firewall.State{}).String(); got != "" {
		t.Errorf("rules: %s", got)
	}
}

func TestCheckRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*firewall.State){
		"another's interface":            func(s *firewall.State) { s.TUN = "eth0" },
		"quotes in an interface":         func(s *firewall.State) { s.LAN = []string{`eth0" accept`} },
		"lo as home network":             func(s *firewall.State) { s.LAN = []string{"lo"} },
		"the tunnel as home network":     func(s *firewall.State) { s.LAN = []string{"hearth0"} },
		"the world as home network":      func(s *firewall.State) { s.Networks = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} },
		"home network inside the tunnel": func(s *firewall.State) { s.Networks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} },
		"host bits":                      func(s *firewall.State) { s.Networks = []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")} },
		"mapped network":                 func(s *firewall.State) { s.Networks = []netip.Prefix{netip.MustParsePrefix("::ffff:192.168.1.0/120")} },
		"port 0":                         func(s *firewall.State) { s.Home = []firewall.Port{{Proto: firewall.TCP}} },
		"unknown protocol":               func(s *firewall.State) { s.Home = []firewall.Port{{Proto: "sctp", Port: 1}} },
		"no client plane":                func(s *firewall.State) { s.Net4 = netip.Prefix{} },
		"box outside":                    func(s *firewall.State) { s.Box4 = netip.MustParseAddr("10.7.4.1") },
		"device outside":                 func(s *firewall.State) { s.Devices[0].Addr6 = netip.MustParseAddr("fd07:1:3::9") },
		"device is the box":              func(s *firewall.State) { s.Devices[0].Addr4 = s.Box4 },
		"two devices at one address":     func(s *firewall.State) { s.Devices[0].Addr4 = s.Devices[1].Addr4 },
		"device without a role":          func(s *firewall.State) { s.Devices[0].Role = services.RoleNone },
		"device of nobody":               func(s *firewall.State) { s.Devices[0].Person = "" },
		"guest with LAN":                 func(s *firewall.State) { s.Devices[3].LAN = true },
		"guest with peers":               func(s *firewall.State) { s.Devices[3].Peers = true },
		"devices without tunnel":         func(s *firewall.State) { s.TUN = "" },
		"too many devices":               func(s *firewall.State) { s.Devices = make([]firewall.Device, firewall.MaxDevices+1) },
		"too many ports":                 func(s *firewall.State) { s.Members = make([]firewall.Port, firewall.MaxPorts+1) },
		"too many networks":              func(s *firewall.State) { s.Networks = make([]netip.Prefix, firewall.MaxNetworks+1) },
	} {
		s := family()
		spoil(&s)
		if err := s.Check(); err == nil || !strings.HasPrefix(err.Error(), "firewall state: ") {
			t.Errorf("%s: %v; want it refused", name, err)
		}
	}
}
