package netlab

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Gateway is a port mapping server on a Router, as honest or as broken as told. Fields that change how it answers may
// be set before Serve only.
type Gateway struct {
	Outside       netip.Addr    // the outside address it reports; zero is that of "wan"
	MaxLease      time.Duration // the longest it grants; zero is two hours
	OutsidePort   uint16        // the outside port it gives whatever is asked; zero gives what is asked
	Refuse        int           // the protocol's own result code for every request; zero is success
	Garbage       bool          // answers every request with noise
	NoDelete      bool          // says yes to a release and keeps the mapping
	PermanentOnly bool          // UPnP: error 725 unless the lease is 0

	router *Router

	mu       sync.Mutex
	requests int
	current  map[uint16]*held
}

type held struct {
	nonce  [12]byte
	from   netip.AddrPort
	lease  time.Duration
	expiry *time.Timer
}

// Requests is how many requests arrived, of any kind.
func (g *Gateway) Requests() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.requests
}

// Mappings are the mappings that exist now: outside port to address at home.
func (g *Gateway) Mappings() map[uint16]netip.AddrPort {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := make(map[uint16]netip.AddrPort)
	for p, h := range g.current {
		m[p] = h.from
	}
	return m
}

func (g *Gateway) serve(r *Router) {
	g.router, g.current = r, make(map[uint16]*held)
	if g.MaxLease == 0 {
		g.MaxLease = 2 * time.Hour
	}
	if !g.Outside.IsValid() {
		for _, a := range r.Port("wan").Addrs() {
			if a.Addr().Is4() {
				g.Outside = a.Addr()
			}
		}
	}
	r.lab.t.Cleanup(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, h := range g.current {
			h.expiry.Stop()
		}
	})
}

// grant makes, renews or (with lease 0) deletes a mapping. ok is false when somebody else has the port.
func (g *Gateway) grant(want uint16, to netip.AddrPort, nonce [12]byte, lease time.Duration) (port uint16, granted time.Duration, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.OutsidePort != 0 {
		want = g.OutsidePort
	}
	for p, h := range g.current { // one mapping for one inside port
		if h.from == to {
			want = p
		}
	}
	h := g.current[want]
	if h != nil && (h.from != to || h.nonce != nonce) {
		return 0, 0, false
	}
	if lease == 0 {
		if h != nil && !g.NoDelete {
			h.expiry.Stop()
			delete(g.current, want)
			g.router.Unmap(UDP, want)
		}
		return want, 0, true
	}
	if lease < 0 || lease > g.MaxLease {
		lease = g.MaxLease
	}
	if h == nil {
		h = &held{nonce: nonce, from: to}
		g.current[want] = h
		if err := g.router.Map(UDP, want, to); err != nil {
			return 0, 0, false
		}
	} else {
		h.expiry.Stop()
	}
	h.lease = lease
	h.expiry = time.AfterFunc(lease, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.current[want] == h {
			delete(g.current, want)
			g.router.Unmap(UDP, want)
		}
	})
	return want, lease, true
}

func (g *Gateway) count() {
	g.mu.Lock()
	g.requests++
	g.mu.Unlock()
}

// datagrams answers what arrives on a UDP port of the router until the test ends.
func (r *Router) datagrams(conn net.PacketConn, answer func(b []byte, from netip.AddrPort) []byte) {
	r.lab.t.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			ap := from.(*net.UDPAddr).AddrPort()
			if out := answer(b[:n], netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())); out != nil {
				conn.WriteTo(out, from)
			}
		}
	}()
}

func (r *Router) udp(address string) net.PacketConn {
	r.lab.t.Helper()
	c, err := r.ListenPacket("udp4", address)
	if err != nil {
		r.lab.t.Fatalf("router %s: %v", r.name, err)
	}
	return c
}

var noise = []byte("\x02\x81\x00\x00noise that is no answer to anything\xff\xff")

// ServePCP starts a PCP server (RFC 6887, MAP over IPv4) on the router.
func (r *Router) ServePCP(g *Gateway) *Gateway {
	r.lab.t.Helper()
	g.serve(r)
	r.datagrams(r.udp(":5351"), func(b []byte, from netip.AddrPort) []byte {
		g.count()
		if g.Garbage {
			return noise
		}
		out := make([]byte, 60)
		out[0], out[1] = 2, 0x80|1
		result := func(code byte) []byte { out[3] = code; return out }
		binary.BigEndian.PutUint32(out[8:], 1000)
		if len(b) < 4 || b[0] != 2 {
			return result(1)[:24]
		}
		if len(b) != 60 || b[1] != 1 {
			return result(4)[:24]
		}
		copy(out[24:], b[24:])
		if g.Refuse != 0 {
			return result(byte(g.Refuse))
		}
		if netip.AddrFrom16([16]byte(b[8:24])).Unmap() != from.Addr() {
			return result(12)
		}
		if b[36] != UDP {
			return result(9)
		}
		inside := binary.BigEndian.Uint16(b[40:])
		lease := time.Duration(binary.BigEndian.Uint32(b[4:])) * time.Second
		port, lease, ok := g.grant(binary.BigEndian.Uint16(b[42:]), netip.AddrPortFrom(from.Addr(), inside), [12]byte(b[24:36]), lease)
		if !ok {
			return result(2)
		}
		binary.BigEndian.PutUint32(out[4:], uint32(lease/time.Second))
		binary.BigEndian.PutUint16(out[42:], port)
		outside := g.Outside.As16()
		copy(out[44:], outside[:])
		return out
	})
	return g
}

// ServeNATPMP starts a NAT-PMP server (RFC 6886) on the router. It refuses PCP as such servers do.
func (r *Router) ServeNATPMP(g *Gateway) *Gateway {
	r.lab.t.Helper()
	g.serve(r)
	r.datagrams(r.udp(":5351"), func(b []byte, from netip.AddrPort) []byte {
		g.count()
		if g.Garbage {
			return noise
		}
		if len(b) < 2 {
			return nil
		}
		out := make([]byte, 16)
		out[1] = 128 + b[1]
		binary.BigEndian.PutUint32(out[4:], 1000)
		result := func(code uint16) []byte { binary.BigEndian.PutUint16(out[2:], code); return out[:8] }
		switch {
		case b[0] != 0:
			return result(1)
		case g.Refuse != 0:
			return result(uint16(g.Refuse))
		case b[1] == 0:
			copy(out[8:], g.Outside.AsSlice())
			return out[:12]
		case b[1] == 1 && len(b) == 12:
			inside := binary.BigEndian.Uint16(b[4:])
			lease := time.Duration(binary.BigEndian.Uint32(b[8:])) * time.Second
			port, lease, ok := g.grant(binary.BigEndian.Uint16(b[6:]), netip.AddrPortFrom(from.Addr(), inside), [12]byte{}, lease)
			if !ok {
				return result(4)
			}
			copy(out[8:], b[4:6])
			binary.BigEndian.PutUint16(out[10:], port)
			binary.BigEndian.PutUint32(out[12:], uint32(lease/time.Second))
			return out
		}
		return result(5)
	})
	return g
}

const upnpService = "urn:schemas-upnp-org:service:WANIPConnection:1"

// ServeUPnP starts a UPnP gateway (SSDP, description, WANIPConnection:1) on the router's home interface "lan".
func (r *Router) ServeUPnP(g *Gateway) *Gateway {
	r.lab.t.Helper()
	g.serve(r)
	var inside netip.Addr
	for _, a := range r.Port("lan").Addrs() {
		if a.Addr().Is4() {
			inside = a.Addr()
		}
	}
	l, err := r.Listen("tcp4", netip.AddrPortFrom(inside, 5000).String())
	if err != nil {
		r.lab.t.Fatalf("router %s: %v", r.name, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /description.xml", func(w http.ResponseWriter, _ *http.Request) {
		g.count()
		if g.Garbage {
			w.Write(noise)
			return
		}
		fmt.Fprintf(w, `<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType>
<deviceList><device><deviceType>urn:schemas-upnp-org:device:WANDevice:1</deviceType><deviceList><device><serviceList><service>
<serviceType>%s</serviceType><controlURL>/control</controlURL></service></serviceList></device></deviceList></device></deviceList></device></root>`, upnpService)
	})
	mux.HandleFunc("POST /control", func(w http.ResponseWriter, req *http.Request) {
		g.count()
		body, _ := io.ReadAll(io.LimitReader(req.Body, 64<<10))
		field := func(name string) string {
			m := regexp.MustCompile("<" + name + ">([^<]*)</" + name + ">").FindSubmatch(body)
			if m == nil {
				return ""
			}
			return string(m[1])
		}
		fault := func(code int, text string) {
			w.WriteHeader(500)
			fmt.Fprintf(w, `<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail><UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>%d</errorCode><errorDescription>%s</errorDescription></UPnPError></detail></s:Fault></s:Body></s:Envelope>`, code, text)
		}
		action := strings.Trim(req.Header.Get("SOAPAction"), `"`)
		name, ok := strings.CutPrefix(action, upnpService+"#")
		if !ok {
			fault(401, "Invalid Action")
			return
		}
		if g.Refuse != 0 {
			fault(g.Refuse, "told to refuse")
			return
		}
		var answer string
		external, _ := strconv.ParseUint(field("NewExternalPort"), 10, 16)
		from, _ := netip.ParseAddrPort(req.RemoteAddr)
		switch name {
		case "GetExternalIPAddress":
			answer = "<NewExternalIPAddress>" + g.Outside.String() + "</NewExternalIPAddress>"
		case "AddPortMapping":
			internal, _ := strconv.ParseUint(field("NewInternalPort"), 10, 16)
			seconds, err := strconv.Atoi(field("NewLeaseDuration"))
			client, err2 := netip.ParseAddr(field("NewInternalClient"))
			if err != nil || err2 != nil || client != from.Addr() || field("NewProtocol") != "UDP" || external == 0 || internal == 0 {
				fault(402, "Invalid Args")
				return
			}
			if g.PermanentOnly && seconds != 0 {
				fault(725, "OnlyPermanentLeasesSupported")
				return
			}
			lease := time.Duration(seconds) * time.Second
			if seconds == 0 {
				lease = -1
			}
			if _, _, ok := g.grant(uint16(external), netip.AddrPortFrom(client, uint16(internal)), [12]byte{}, lease); !ok {
				fault(718, "ConflictInMappingEntry")
				return
			}
		case "DeletePortMapping":
			g.mu.Lock()
			h := g.current[uint16(external)]
			g.mu.Unlock()
			if h == nil {
				fault(714, "NoSuchEntryInArray")
				return
			}
			g.grant(uint16(external), h.from, [12]byte{}, 0)
		default:
			fault(401, "Invalid Action")
			return
		}
		fmt.Fprintf(w, `<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><u:%sResponse xmlns:u="%s">%s</u:%sResponse></s:Body></s:Envelope>`, name, upnpService, answer, name)
	})
	srv := &http.Server{Handler: mux, ReadTimeout: 5 * time.Second}
	r.lab.t.Cleanup(func() { srv.Close() })
	go srv.Serve(l)

	var conn *net.UDPConn
	if err := r.Do(func() error {
		lan, err := net.InterfaceByName("lan")
		if err == nil {
			conn, err = net.ListenMulticastUDP("udp4", lan, &net.UDPAddr{IP: net.IPv4(239, 255, 255, 250), Port: 1900})
		}
		return err
	}); err != nil {
		r.lab.t.Fatalf("router %s: SSDP: %v", r.name, err)
	}
	r.datagrams(conn, func(b []byte, _ netip.AddrPort) []byte {
		g.count()
		if g.Garbage {
			return noise
		}
		if !strings.HasPrefix(string(b), "M-SEARCH") || !strings.Contains(string(b), "InternetGatewayDevice:1") {
			return nil
		}
		return []byte("HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nUSN: uuid:0::urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nEXT:\r\nSERVER: netlab UPnP/1.1\r\nLOCATION: http://" + l.Addr().String() + "/description.xml\r\n\r\n")
	})
	return g
}
