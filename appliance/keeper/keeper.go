package keeper

import (
	"context"
	"crypto/ed25519"
	"net/netip"
	"os"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/firewall"
	"hearth.alt/services/secret"
)

// Keeper is what the unprivileged part of Hearth may ask of the privileged one. Local does the work, Client asks a
// Local at the other end of a socket; the contract suite in contract_test.go runs on both.
//
// All methods may be called from any goroutine at any time. Slices and files given back belong to the caller. A
// call that cannot be answered changes nothing. Errors meant for people are *services.Problem; callers may match
// the Err variables of this package with errors.Is on either side of the socket.
type Keeper interface {
	// PeerID names this box. It is memory: the key was read when the keeper started, and stays the same until its end.
	// It is zero while that key is damaged; then every call that needs the key fails with ErrDamagedKey and the rest
	// works.
	PeerID() services.PeerID
	// Info says what this keeper is. It never fails on a Local.
	Info(ctx context.Context) (Info, error)

	// Listen opens a listening TCP socket or a bound UDP socket (ErrNotAllowed, ErrNoRight, ErrTaken, ErrNoAddress).
	// The caller turns the file into a net.Listener with net.FileListener or net.FilePacketConn and closes both.
	Listen(ctx context.Context, spec ListenSpec) (*os.File, error)
	// OpenTUN makes the client plane's interface, or finds the one that is kept from before, gives it exactly the
	// addresses and MTU of spec and brings it up. Needs root (ErrNoTUN). The keeper holds the
	// interface open, so that it outlives the caller; the returned file is a second handle on it.
	OpenTUN(ctx context.Context, spec TUNSpec) (*TUN, error)
	// ApplyFirewall makes the nft state exactly s, in one step, and reads it back. Repeating it is harmless. The
	// keeper overrides s.Device, and refuses a TUN that is not its own and, on a device, ports beyond the list of
	// Listen.
	ApplyFirewall(ctx context.Context, s firewall.State) error
	// SetHostname names the machine; ErrNotDevice on a laptop. The name is one DNS label (RFC 1123).
	SetHostname(ctx context.Context, name string) error

	// SignRecord signs a record of the household log with the device key. The message must begin with
	// Config.RecordPrefix (ErrNotAllowed).
	SignRecord(ctx context.Context, message []byte) ([]byte, error)
	// SignCheckpoint signs with the device key what this box shows to friends' boxes of its log. The message must begin
	// with CheckpointDomain (ErrNotAllowed).
	SignCheckpoint(ctx context.Context, message []byte) ([]byte, error)
	// SignStatement signs with the device key what this box states to the others of its household. The message must begin
	// with StatementDomain (ErrNotAllowed).
	SignStatement(ctx context.Context, message []byte) ([]byte, error)
	// SignHandshake signs with the device key what TLS 1.3 has an end of a handshake sign (RFC 8446, section 4.4.3),
	// and nothing else (ErrNotAllowed): that is how the box proves to others who it is.
	SignHandshake(ctx context.Context, message []byte) ([]byte, error)
	// NextDevice makes the key that will take the device key's place and keeps it; while one waits it returns that one. It
	// signs nothing before AdoptDevice and a new start. One that is damaged is given up for another: nobody relies on it.
	NextDevice(ctx context.Context) (services.PeerID, error)
	// AdoptDevice makes the next key, whose public half is id, the device key and erases the old one for good. Repeating
	// it is harmless; ErrNoNextDevice when id does not wait, ErrDamagedKey when what waits is damaged. This keeper goes on
	// with the old key: PeerID and signatures are the new key's once the process has started again, which the caller
	// sees to.
	AdoptDevice(ctx context.Context, id services.PeerID) error
	// ClientKey returns the WireGuard private key of the client plane, 32 bytes, clamped as Curve25519 wants.
	ClientKey(ctx context.Context) (secret.Bytes, error)
	// MakeRoot makes the household root and keeps it until EraseRoot. While one is kept it returns that one.
	MakeRoot(ctx context.Context) (ed25519.PublicKey, error)
	// RootWords returns the 24 recovery words of the root that is kept; ErrNoRoot when none is.
	RootWords(ctx context.Context) ([]secret.Text, error)
	// SignWithRoot signs with the root that is kept; ErrNoRoot when none is. The message must begin with
	// Config.RecordPrefix.
	SignWithRoot(ctx context.Context, message []byte) ([]byte, error)
	// EraseRoot overwrites and removes the private half of the root. Erasing none is no error.
	EraseRoot(ctx context.Context) error
	// NextRoots returns the entropies that KeepNextRoots keeps, none at first. They leave the keeper: without the words
	// they are good for nothing.
	NextRoots(ctx context.Context) ([]secret.Bytes, error)
	// KeepNextRoots keeps these entropies of roots that may follow, 32 bytes each, at most 4, in place of those that were
	// kept.
	KeepNextRoots(ctx context.Context, entropies []secret.Bytes) error

	// MakeCA makes the household's certificate authority: the root's private key lives in memory only while it signs
	// one intermediate, whose key stays here. ErrHaveCA when there is one, ErrDamagedKey when there is one that cannot
	// be read: devices trust it, so nobody who got hold of the unprivileged process may put another in its place.
	MakeCA(ctx context.Context, spec CASpec) error
	// CACertificates returns root and intermediate as DER; ErrNoCA before MakeCA.
	CACertificates(ctx context.Context) (root, intermediate []byte, err error)
	// SignCertificate signs the SHA-256 digest (32 bytes) of a certificate's to-be-signed part with the
	// intermediate's key: ECDSA P-256, ASN.1. ErrNoCA before MakeCA. The intermediate's name constraints and path
	// length bound what such a signature is good for.
	SignCertificate(ctx context.Context, digest []byte) ([]byte, error)

	// ClaimSecret returns the claim secret, 16 characters in four groups; ErrClaimed once it was forgotten.
	ClaimSecret(ctx context.Context) (secret.Text, error)
	// ForgetClaimSecret erases the claim secret everywhere it was written. Repeating it is harmless.
	ForgetClaimSecret(ctx context.Context) error

	// Power restarts or switches off the machine; ErrNotDevice on a laptop. The answer comes before it happens.
	Power(ctx context.Context, how Power) error
	// Machine says how the machine is: whether its clock was set, and how full its disk is.
	Machine(ctx context.Context) (Machine, error)
}

// Info is what a keeper is.
type Info struct {
	PeerID  services.PeerID // zero while the device key is damaged
	Damaged []string        // the keys that are damaged or lost, by file name; they are not replaced
	Device  bool            // an appliance, not a laptop
	Dev     bool            // --dev: free ports and names stand in for taken ones
	Root    bool            // it has the privileges for TUN and nft; without them ErrNoTUN
	Version string          // of the program
}

// Network is the kind of a socket.
type Network string

// The kinds of sockets.
const (
	TCP Network = "tcp"
	UDP Network = "udp"
)

// ListenSpec names one socket. Address is an IP address of a face ("unspecified" counts as all of them) and a port:
// tcp 53, 80, 443, 41820 or udp 53, 5353, 41820, 51820; with Dev also any port from 1024 on, and 0 for a free one.
//
// A dual-stack socket is asked for with the address "::"; every other IPv6 address is IPv6 only. With Shared the
// port may be bound by others too (SO_REUSEADDR and SO_REUSEPORT), as mDNS needs it.
type ListenSpec struct {
	Network Network
	Address netip.AddrPort
	Shared  bool
}

// TUNSpec is the whole desired state of the interface.
type TUNSpec struct {
	Name      string         // "hearth" and up to nine letters and digits; with Dev a taken name gets another number
	MTU       int            // 1280 to 1500 bytes
	Addresses []netip.Prefix // the box's addresses with the length of the client plane's prefix; at most 8
}

// TUN is the interface. File was opened with IFF_TUN, IFF_NO_PI and IFF_VNET_HDR and is non-blocking, so GSO and GRO
// work. A process without CAP_NET_ADMIN hands what Detach returns to wireguard-go's CreateUnmonitoredTUNFromFD (the
// monitored way sets the MTU, which needs the capability) and calls Up on the WireGuard device itself, as no event
// will.
type TUN struct {
	Name  string // the name it got
	Index int    // of the interface
	Kept  bool   // it was there already, from before a restart of the caller
	File  *os.File
}

// Detach gives up File and returns its descriptor, which then belongs to the caller alone. Using File.Fd instead lets
// the garbage collector close it under the device that reads it.
func (t *TUN) Detach() (int, error) {
	raw, err := t.File.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd, err := duplicateFD(raw)
	if err != nil {
		return -1, err
	}
	return fd, t.File.Close()
}

// CASpec is what the certificate authority may vouch for. It has the fields of certificate.Params, so that one
// converts to the other; see there.
type CASpec struct {
	Name   string         // the household as people write it
	Domain string         // "<household>.home.arpa"
	Label  string         // the box's DNS label
	Net4   netip.Prefix   // the client plane
	Net6   netip.Prefix   // the client plane
	LAN    []netip.Prefix // the networks the box is on
	Now    time.Time      // the known time
}

// Power is what can be done to the machine.
type Power string

// What Power does.
const (
	Restart Power = "restart"
	Off     Power = "off"
)

// Machine is how the machine is.
type Machine struct {
	ClockSet  bool  // NTP, or whoever keeps a laptop's clock, has set the system clock
	DiskTotal int64 // bytes of the file system that holds the state
	DiskFree  int64 // bytes of it that an unprivileged process may still write
}
