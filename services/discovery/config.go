package discovery

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"hearth.alt/services"
)

// Members says who this box is: the label it answers to and whether it has been claimed.
type Members interface {
	// Watch returns the current snapshot and a channel that is closed when there is a newer one.
	Watch() (*services.Membership, <-chan struct{})
}

// Ports are the ports that the home network reaches, and so are announced. Zero is not announced.
type Ports struct {
	Web    uint16 // TCP: "_http._tcp" and "_hearth._tcp" name it
	Secure uint16 // TCP: without Web "_https._tcp" and "_hearth._tcp" name it
	Mesh   uint16 // UDP: in the TXT record of "_hearth._tcp" once the box is claimed
}

// Config is what the service needs.
type Config struct {
	// Members gives the label; nil is an error. A box that is not claimed is "hearth".
	Members Members
	// Interfaces says on which links to speak. nil is every link that can multicast but loopback. The tunnel
	// must be refused here: names on the home network are no business of the people on the road.
	Interfaces func(net.Interface) bool
	// Ports is asked when the service starts, a second later, each time Members or the links change, and every minute;
	// it must be quick. nil announces no service.
	Ports func() Ports
	// Browse says whether to look for others. The zero value only answers.
	Browse bool
	// Silent says that nobody on the home network could reach the box: it takes no name there, announces nothing and
	// answers nothing. It still looks for others.
	Silent bool
	// Now is the known time, for Health.Since; nil is time.Now.
	Now func() time.Time
	// Log receives what happens; nil is silence.
	Log *slog.Logger

	// port is 5353 (RFC 6762, section 3) outside tests.
	port int
	// find asks once for a kind of service; zeroconf outside tests.
	find finder
	// network opens the sockets; the machine's outside tests.
	network network
}

func (c *Config) check() error {
	if c.Members == nil {
		return errors.New("discovery: Members is missing")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Log = c.Log.With("service", "discovery")
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Ports == nil {
		c.Ports = func() Ports { return Ports{} }
	}
	if c.Interfaces == nil {
		c.Interfaces = func(net.Interface) bool { return true }
	}
	if c.port == 0 {
		c.port = 5353
	}
	if c.network == nil {
		c.network = machine{port: c.port, allow: c.Interfaces}
	}
	if c.find == nil {
		c.find = findZeroconf(c.Interfaces)
	}
	return nil
}

// Kind is what a found service is for.
type Kind string

// The kinds.
const (
	KindHearth  Kind = "hearth"
	KindPrinter Kind = "printer"
	KindPlayer  Kind = "player"
	KindFiles   Kind = "files"
)

// Found is something on the home network that announces itself. All text came from a stranger and has been cleaned:
// valid UTF-8, no control, format or direction characters, at most 63 bytes; it still must be escaped like any text.
type Found struct {
	Kind      Kind
	Service   string // "_ipp._tcp"
	Name      string // the instance name for people
	Host      string // its own name on the network, "printer.local", no dot at the end
	Port      uint16
	Addresses []netip.Addr      // at most 8, IPv4 first
	Text      map[string]string // TXT keys of other Hearths only ("claim", "id", "mesh"); nil for everything else
	Seen      time.Time         // when it last said so; wall time of this box
}
