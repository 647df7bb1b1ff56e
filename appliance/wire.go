package appliance

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"hearth.alt/appliance/api"
	"hearth.alt/appliance/keeper"
	"hearth.alt/appliance/pages"
	"hearth.alt/appliance/sealed"
	"hearth.alt/appliance/web"
	"hearth.alt/services"
	"hearth.alt/services/account"
	"hearth.alt/services/certificate"
	"hearth.alt/services/clock"
	"hearth.alt/services/discovery"
	"hearth.alt/services/dns"
	"hearth.alt/services/firewall"
	"hearth.alt/services/identity"
	"hearth.alt/services/link"
	"hearth.alt/services/mesh"
	"hearth.alt/services/witness"
	"hearth.alt/webui"
)

// appliance is all the parts, made by wire and run by run.
type appliance struct {
	opts   Options
	log    *slog.Logger
	keeper keeper.Keeper
	info   keeper.Info
	asked  asked
	clock  *clock.Clock
	zone   *api.Zone

	identity    *identity.Service
	account     *account.Service
	certificate *certificate.Service
	firewall    *firewall.Service
	mesh        *mesh.Service
	dns         *dns.Service
	discovery   *discovery.Service
	link        *link.Service
	links       *links
	friends     *friends
	witness     *witness.Service
	leaving     *leaving
	linkSockets *linkSockets
	joining     *joining
	claim       *claimKeeper
	web         *web.Server
	webConfig   web.Config // what it was made of
	pages       *pages.House
	faces       *faces
	console     *console
	room        *room
	health      *healthBoard
	restart     context.CancelCauseFunc // ends this life and says why

	lastTunnel struct {
		sync.Mutex
		name string
	}
}

// asked is where a start wants the appliance to listen.
type asked struct{ http, https, dns netip.AddrPort }

func parseAsked(o Options) (at asked, err error) {
	if at.http, err = parseAddr("http", o.HTTP); err != nil {
		return at, err
	}
	if at.https, err = parseAddr("https", o.HTTPS); err != nil {
		return at, err
	}
	at.dns, err = parseAddr("dns", o.DNS)
	return at, err
}

// wire builds every part and hands each what it needs of the others. It starts nothing but
// the kernel's telling of interfaces, which ends with ctx.
func wire(ctx context.Context, o Options, k keeper.Keeper, log *slog.Logger) (*appliance, error) {
	a := &appliance{opts: o, log: log, keeper: k}
	var err error
	if a.info, err = k.Info(ctx); err != nil {
		return nil, fmt.Errorf("asking the keeper: %w", err)
	}
	if a.asked, err = parseAsked(o); err != nil {
		return nil, err
	}
	if err := removeTemporary(o.State); err != nil {
		return nil, err
	}
	// Known time: on a laptop somebody keeps the clock; a device waits for NTP (claimKeeper vouches).
	if a.clock, err = clock.New(filepath.Join(o.State, "clock"), clock.Machine(), !a.info.Device); err != nil {
		return nil, err
	}
	var own *time.Location // a computer of one's own has a zone
	if !a.info.Device {
		own = time.Local
	}
	if a.zone, err = api.OpenZone(filepath.Join(o.State, "zone"), own); err != nil {
		return nil, err
	}
	for _, wire := range []func() error{a.wireMembers, a.wireCertificate, func() error { return a.wireNetwork(ctx) }, a.wireNames, a.wireLinks, a.wireLeaving, a.wireHouse} {
		if err := wire(); err != nil {
			return nil, err
		}
	}
	a.wireFaces()
	a.health.parts = a.services()
	return a, nil
}

// wireMembers builds who belongs. Everything below makes its membership so.
func (a *appliance) wireMembers() (err error) {
	if a.identity, err = identity.New(identity.Config{
		Dir: filepath.Join(a.opts.State, "identity"), Keys: a.keeper, Now: a.clock.Now, Log: a.log,
	}); err != nil {
		return err
	}
	if a.account, err = account.New(account.Config{
		Dir: filepath.Join(a.opts.State, "account"), Members: a.identity, MayGrant: identity.MayGrant, Activate: a.identity.ActivatePerson, Sign: a.keeper.SignStatement, Now: a.clock.Now, Log: a.log,
		OnEnded: func(all []account.Ended) {
			ids := make([]string, len(all))
			for i, e := range all {
				ids[i] = e.ID
			}
			a.web.End(ids...)
		},
	}); err != nil {
		return err
	}
	a.claim = newClaimKeeper(a.keeper, a.identity, a.clock, a.log)
	return nil
}

// wireCertificate builds the certificate: the claim secret's before the claim, the household's authority after it.
func (a *appliance) wireCertificate() (err error) {
	a.certificate, err = certificate.New(certificate.Config{
		Members: a.identity, Signer: a.keeper, Addresses: func() []netip.Addr { return lookHome().addresses },
		Claim: a.claim.certificate, Now: a.clock.Now, Known: a.clock.Known, Log: a.log,
	})
	return err
}

// wireNetwork builds the private network, and the rules around it.
func (a *appliance) wireNetwork(ctx context.Context) (err error) {
	if a.mesh, err = mesh.New(mesh.Config{
		Members: a.identity, Keys: a.keeper, Tunnel: tunnel{a.keeper}, Port: a.opts.ClientPort, AnyPort: a.opts.Dev && !a.opts.given.client, NoPortMap: a.opts.NoPortMap,
		Dir: filepath.Join(a.opts.State, "mesh"), Now: a.clock.Now, Log: a.log,
		Paired: func(ctx context.Context, id services.DeviceID) error {
			if err := a.identity.ActivateDevice(ctx, id); err != nil {
				return err
			}
			d, _ := a.identity.Membership().Device(id)
			return a.account.Audit(ctx, account.Event{Action: "device-paired", Object: d.Name})
		},
	}); err != nil {
		return err
	}
	interfaces, err := firewall.Interfaces(ctx)
	if err != nil {
		a.log.Warn("changes of the network are seen a little later", "error", err)
	}
	a.firewall, err = firewall.New(firewall.Config{
		Changed: interfaces,
		Members: a.identity, Apply: a.keeper.ApplyFirewall, TUN: a.tunnelName,
		Device: a.info.Device, Now: a.clock.Now, Log: a.log,
	})
	return err
}

// wireNames builds the names: for everybody who belongs, and for the home network.
func (a *appliance) wireNames() (err error) {
	sockets := &nameSockets{keeper: a.keeper, lan: a.asked.dns, dev: a.opts.Dev, free: a.opts.Dev && !a.opts.given.dns, tunnel: a.guarded}
	near := &neighbours{look: lookHome}
	if a.dns, err = dns.New(dns.Config{
		Members: a.identity, Open: sockets.open, Stale: sockets.stale, Probe: true,
		Dir:  filepath.Join(a.opts.State, "dns"),
		From: near.have, Home: near.others, SystemResolvers: systemResolvers, Now: a.clock.Now, TimeKnown: a.clock.Known, Log: a.log,
	}); err != nil {
		return err
	}
	a.discovery, err = discovery.New(discovery.Config{
		Members: a.claim, Interfaces: homeInterface, Browse: true, Now: a.clock.Now, Log: a.log,
		Silent: announced(a.asked.http, a.asked.https) == discovery.Ports{},
		Ports: func() discovery.Ports {
			p := announced(a.faces.at())
			p.Mesh = a.linkSockets.port()
			return p
		},
	})
	return err
}

// wireLinks builds the links between boxes, and what the boxes of the household share over them.
func (a *appliance) wireLinks() (err error) {
	a.linkSockets = &linkSockets{keeper: a.keeper, at: a.linkAddress(), dev: a.opts.Dev, free: a.opts.Dev && !a.opts.given.mesh}
	where := newWhereabouts(filepath.Join(a.opts.State, "link", "addresses"), a.log)
	a.links = newLinks(where, a.identity, a.log)
	where.own, where.near, where.known, where.now = a.linkedAt, a.discovery.Found, a.links.ours, a.clock.Now
	a.links.shares = append(shares(a.identity, where, a.info.PeerID), share{name: account.CredentialsProtocol, serve: a.account.ServeCredentials})
	invitations := identity.InvitationsOf(a.identity)
	invitations.Joined = func(ctx context.Context, b services.Box) {
		if err := a.account.Audit(ctx, account.Event{Action: "box-joined", Object: b.Name}); err != nil {
			a.log.Error("an event could not be written down", "action", "box-joined", "error", err)
		}
	}
	a.joining = &joining{
		links: a.links, identity: a.identity, invitations: identity.NewInvitations(invitations), own: a.linkedAt, near: a.discovery.Found, port: a.opts.MeshPort,
	}
	a.friends = newFriends(a.identity, a.linkedAt, a.account.Audit, a.log)
	if a.witness, err = witness.New(witness.Config{
		Dir: filepath.Join(a.opts.State, "witness"), Self: a.info.PeerID, Own: a.identity.Leaves, Sign: a.keeper.SignCheckpoint,
		Knows: a.friends.knows, Now: a.clock.Now, Log: a.log,
	}); err != nil {
		return err
	}
	a.friends.vouch = a.witness.Serve
	a.links.beside = []func(context.Context){a.friends.keep}
	a.link, err = link.New(link.Config{
		Self: a.info.PeerID, Sign: a.keeper.SignHandshake, UDP: a.linkSockets.udp, TCP: a.linkSockets.tcp,
		Paths: func(peer services.PeerID) []netip.AddrPort {
			return append(where.paths(peer), a.friends.paths(peer)...)
		},
		Knows:     func(peer services.PeerID) bool { return a.links.knows(peer) || a.friends.linked(peer) },
		Protocols: append(a.links.protocols(), a.joining.protocol(), a.friends.protocol(), a.friends.witness()), Now: a.clock.Now, Log: a.log,
	})
	a.links.link, a.friends.link = a.link, a.link
	return err
}

// wireLeaving builds the end of what removed people kept.
func (a *appliance) wireLeaving() error {
	a.leaving = newLeaving(&leaving{
		path: filepath.Join(a.opts.State, "leaving"), members: a.identity, keepers: []services.Snapshotter{a.account, a.dns, a.witness},
		now: a.clock.Now, known: a.clock.Known, log: a.log,
		erased: func(ctx context.Context, l services.Leaving) {
			if err := a.account.Audit(ctx, account.Event{Action: "files-erased", Object: l.Name}); err != nil {
				a.log.Error("an event could not be written down", "action", "files-erased", "error", err)
			}
		},
	})
	return nil
}

// linkAddress is where links are taken in: everywhere, but at home alone on a computer whose pages are, too.
func (a *appliance) linkAddress() netip.AddrPort {
	if at := a.asked.http.Addr(); a.opts.Dev && at.IsLoopback() {
		return netip.AddrPortFrom(at, a.opts.MeshPort)
	}
	return netip.AddrPortFrom(netip.IPv6Unspecified(), a.opts.MeshPort)
}

// linkedAt is where other boxes find this one.
func (a *appliance) linkedAt() (out []netip.AddrPort) {
	port := a.linkSockets.port()
	if port == 0 {
		return nil
	}
	if at := a.linkAddress().Addr(); at.IsLoopback() {
		return []netip.AddrPort{netip.AddrPortFrom(at, port)}
	}
	for _, at := range lookHome().addresses {
		out = append(out, netip.AddrPortFrom(at, port))
	}
	return out
}

// wireHouse builds what the house does, and its pages.
func (a *appliance) wireHouse() (err error) {
	a.health = newHealthBoard()
	house := &api.House{
		Version: Version, Log: a.log, Clock: a.clock, Zone: a.zone, TimeSet: a.certificate.Reload, Identity: a.identity, Account: a.account, Mesh: a.mesh, Names: a.discovery, DNS: a.dns,
		Link: a.link, Invitations: a.joining.invitations, Joining: a.joining, Joined: a.claim.join, Friends: a.friends, Witness: a.witness, Leaving: a.leaving, Rekey: rekey{a},
		Health: a.health.All, Door: a.door, Addresses: func() []netip.Addr { return lookHome().addresses },
		Networks: func() []netip.Prefix { return lookHome().networks }, Temporary: filepath.Join(a.opts.State, "tmp"),
	}
	a.claim.reload = a.certificate.Reload
	a.pages = &pages.House{
		API: house, ClaimCode: a.claim.code, Guesses: &a.claim.guesses,
		Leaf: a.leaf, Root: a.certificate.RootDER,
		Surroundings: func() pages.Surroundings {
			plain, secure := a.faces.at()
			return pages.Surroundings{Addresses: lookHome().addresses, Router: defaultRouter(), HTTP: plain, HTTPS: secure}
		},
		Storage: a.storage, LostJournal: lostJournal,
	}
	a.webConfig = web.Config{
		Log: a.log, Members: a.identity, Credentials: credentials{a.account}, House: house, UI: webui.New(webui.Config{House: a.pages, Zone: a.zone.Location, Log: a.log}),
		Hosts: a.hosts, Around: pages.WithDoor, Metrics: http.HandlerFunc(a.metrics),
		Sealed: &sealed.Config{PSK: a.claim.psk, Throttle: a.claim.guesses.Wait, Wrong: a.claim.guesses.Wrong, Right: a.claim.used},
	}
	a.web, err = web.New(a.webConfig)
	return err
}

// wireFaces builds where the house is met.
func (a *appliance) wireFaces() {
	a.faces = &faces{
		log: a.log, now: a.clock.Now, members: a.identity, http: a.asked.http, https: a.asked.https, server: a.web.HTTPServer, guarded: a.guarded,
		tls: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: a.certificate.GetCertificate, NextProtos: []string{"h2", "http/1.1"}},
		open: func(ctx context.Context, at netip.AddrPort) (net.Listener, error) {
			free := a.opts.Dev && (at == a.asked.http && !a.opts.given.http || at == a.asked.https && !a.opts.given.https)
			return openTCP(ctx, a.keeper, at, a.opts.Dev, free)
		},
	}
	a.room = newRoom(a.storage, a.clock.Now)
	a.console = newConsole(a.opts.State, a.clock.Now, a.web.HTTPServer(services.FaceConsole))
}

// tunnelName is the client plane's interface. Once known it stays: while the plane is started again the keeper holds
// the interface, our listeners stand on its addresses, and the rules must not go.
func (a *appliance) tunnelName() string {
	a.lastTunnel.Lock()
	defer a.lastTunnel.Unlock()
	if name := a.mesh.Status().Interface; name != "" {
		a.lastTunnel.name = name
	}
	return a.lastTunnel.name
}

// guarded says whether something may listen on the tunnel's addresses: it is up, and the rules that keep the home
// network away from it are in force.
func (a *appliance) guarded() bool {
	s := a.mesh.Status()
	return s.Up && a.firewall.Guards(s.Interface)
}

// services lists what is supervised, in the order it is shown. It stops in reverse.
func (a *appliance) services() []services.Service {
	return []services.Service{a.identity, a.account, a.certificate, a.mesh, a.firewall, a.dns, a.discovery, a.links, a.witness, a.leaving, a.faces, a.console, a.room, a.claim}
}
