package appliance

import (
	"net/netip"
	"strconv"

	"github.com/spf13/cobra"

	"hearth.alt/appliance/cli"
	"hearth.alt/services"
)

// Version is the program's version; the build sets it (-ldflags -X).
var Version = "dev"

// Options are the flags of hearth run (DESIGN.md, section 5). An empty address means the default for a
// device or for --dev.
type Options struct {
	State      string // the state root
	HTTP       string // the LAN face; on a loopback address the tunnel face
	HTTPS      string // the LAN face with the box's certificate
	Public     string // the public face; nothing is served there yet, whatever it says
	DNS        string // host:port of names for the home network
	ClientPort uint16 // UDP, client plane
	MeshPort   uint16 // UDP and TCP, between boxes
	NoPortMap  bool
	Dev        bool

	given given
}

// given says which ports were asked for by name. Only --dev's own defaults give way to a free port when they are taken.
type given struct{ http, https, dns, client, mesh bool }

// withDefaults fills in what was not given.
func (o Options) withDefaults() Options {
	o.given = given{http: o.HTTP != "", https: o.HTTPS != "", dns: o.DNS != "", client: o.ClientPort != 0, mesh: o.MeshPort != 0}
	set := func(s *string, dev, device string) {
		if *s == "" {
			if *s = device; o.Dev {
				*s = dev
			}
		}
	}
	set(&o.State, cli.DefaultState(true), cli.DefaultState(false))
	set(&o.HTTP, "127.0.0.1:8480", ":80")
	set(&o.HTTPS, "127.0.0.1:8443", ":443")
	set(&o.DNS, "127.0.0.1:8053", ":53")
	if o.ClientPort == 0 {
		o.ClientPort = 51820
	}
	if o.MeshPort == 0 {
		o.MeshPort = 41820
	}
	return o
}

// parseAddr reads "host:port" of a flag. An empty host is every address, dual stack.
func parseAddr(flag, text string) (netip.AddrPort, error) {
	if len(text) > 0 && text[0] == ':' {
		if port, err := strconv.ParseUint(text[1:], 10, 16); err == nil {
			return netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(port)), nil
		}
	}
	a, err := netip.ParseAddrPort(text)
	if err != nil {
		return a, &services.Problem{
			Kind: services.KindInvalid, Code: "bad-address", Field: flag, Cause: err,
			Say: services.Say("run.bad-address", "--{flag} needs an address and a port, like 127.0.0.1:8480 or :80.", "flag", flag),
		}
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}

// Program is what the command line needs to know of the rest.
func Program() cli.Program {
	return cli.Program{Version: Version, Add: func(state *string) []*cobra.Command {
		return []*cobra.Command{runCommand(state)}
	}}
}

func runCommand(state *string) *cobra.Command {
	var o Options
	c := &cobra.Command{
		Use: "run", Short: "Be the box: run every service until told to stop", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.State = *state
			if o.Dev && !cmd.Flags().Changed("no-portmap") {
				o.NoPortMap = true // a computer that tries Hearth out is not opened to the Internet unasked
			}
			return Run(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVar(&o.HTTP, "http", "", "the page on the home network; on a loopback address the private pages (default :80, with --dev 127.0.0.1:8480)")
	f.StringVar(&o.HTTPS, "https", "", "the private pages with the box's certificate (default :443, with --dev 127.0.0.1:8443)")
	f.StringVar(&o.Public, "public", "", "what strangers may reach; nothing is there in this version")
	f.StringVar(&o.DNS, "dns", "", "names for the home network (default :53, with --dev 127.0.0.1:8053)")
	f.Uint16Var(&o.ClientPort, "client-port", 0, "UDP port of the private network for phones and laptops (default 51820)")
	f.Uint16Var(&o.MeshPort, "mesh-port", 0, "UDP and TCP port of the network between boxes (default 41820)")
	f.BoolVar(&o.NoPortMap, "no-portmap", false, "never ask the router to open a port (default with --dev; --no-portmap=false asks it)")
	f.BoolVar(&o.Dev, "dev", false, "on a computer: other paths and ports, free ones where these defaults are taken; no check is relaxed")
	return c
}
