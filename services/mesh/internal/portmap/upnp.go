package portmap

import (
	"bufio"
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The services that map ports, best first (UPnP Forum, WANIPConnection:2, WANIPConnection:1, WANPPPConnection:1).
var upnpServices = []string{
	"urn:schemas-upnp-org:service:WANIPConnection:2",
	"urn:schemas-upnp-org:service:WANIPConnection:1",
	"urn:schemas-upnp-org:service:WANPPPConnection:1",
}

const (
	ssdpGroup = "239.255.255.250:1900"
	ssdpPort  = 1900
	// ssdpTarget is answered by gateways of version 2 as well (UPnP Device Architecture 1.1, section 1.3.2).
	ssdpTarget = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
	// upnpBytes bounds a description and an answer; real ones have 5 to 20 kB.
	upnpBytes = 256 << 10
	// upnpDepth bounds how deep devices nest; a gateway has three levels.
	upnpDepth = 8
)

// errUPnP is an error that the gateway named (UPnP Device Architecture 1.1, section 3.1.2).
type errUPnP struct {
	code        int
	description string
}

func (e *errUPnP) Error() string { return fmt.Sprintf("%s (%d)", e.description, e.code) }

// The codes that mean something to us (WANIPConnection:2, section 2.5.16).
const (
	upnpNoSuchEntry     = 714
	upnpConflict        = 718
	upnpOnlyPermanent   = 725
	upnpNotAuthorized   = 606
	upnpActionForbidden = 403
)

func (c *Client) askUPnP(ctx context.Context, w want, lease time.Duration) (grant, error) {
	if lease == 0 {
		if w.control == "" {
			return grant{}, fail(Silent, "nothing to release")
		}
		_, err := c.soap(ctx, w.route, w.control, w.service, "DeletePortMapping",
			"NewRemoteHost", "", "NewExternalPort", strconv.Itoa(int(w.external)), "NewProtocol", "UDP")
		var e *errUPnP
		if errors.As(err, &e) && e.code == upnpNoSuchEntry {
			err = nil
		}
		return grant{}, err
	}
	control, service := w.control, w.service
	if control != "" {
		if g, err := c.mapUPnP(ctx, w, control, service, lease); err == nil {
			return g, nil
		} // the router may have restarted on another port: discover anew
	}
	location, err := c.discover(ctx, w.route)
	if err != nil {
		return grant{}, err
	}
	control, service, err = c.describe(ctx, w.route, location)
	if err != nil {
		return grant{}, err
	}
	return c.mapUPnP(ctx, w, control, service, lease)
}

// mapUPnP adds the mapping, on another outside port if somebody has the first one, and asks for the outside address.
func (c *Client) mapUPnP(ctx context.Context, w want, control, service string, lease time.Duration) (grant, error) {
	external := w.external
	for try := 0; ; try++ {
		_, err := c.soap(ctx, w.route, control, service, "AddPortMapping",
			"NewRemoteHost", "",
			"NewExternalPort", strconv.Itoa(int(external)),
			"NewProtocol", "UDP",
			"NewInternalPort", strconv.Itoa(int(w.port)),
			"NewInternalClient", w.route.Local.String(),
			"NewEnabled", "1",
			"NewPortMappingDescription", "hearth",
			"NewLeaseDuration", strconv.Itoa(int(lease/time.Second)))
		var e *errUPnP
		if errors.As(err, &e) {
			switch {
			case e.code == upnpConflict && try < 3:
				external = uint16(49152 + rand.IntN(16384)) // RFC 6335, section 6: dynamic ports
				continue
			case e.code == upnpOnlyPermanent:
				return grant{}, fail(Refused, "it offers only mappings that never end (%d)", e.code)
			}
			return grant{}, fail(Refused, "%v", e)
		}
		if err != nil {
			return grant{}, err
		}
		break
	}
	answer, err := c.soap(ctx, w.route, control, service, "GetExternalIPAddress")
	if err != nil {
		return grant{}, err
	}
	a, err := netip.ParseAddr(strings.TrimSpace(answer["NewExternalIPAddress"]))
	if err != nil {
		return grant{}, fail(Nonsense, "the outside address is %q", answer["NewExternalIPAddress"])
	}
	return grant{netip.AddrPortFrom(a.Unmap(), external), lease, control, service}, nil
}

// discover asks the gateway, by name and by multicast, where its description is (UPnP Device Architecture 1.1,
// section 1.3). Answers from others are not for us: any device at home can call itself a gateway.
func (c *Client) discover(ctx context.Context, r Route) (*url.URL, error) {
	conn, err := c.cfg.Network.ListenPacket("udp4", netip.AddrPortFrom(r.Local, 0).String())
	if err != nil {
		return nil, fail(Silent, "%v", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	ask := []byte("M-SEARCH * HTTP/1.1\r\nHOST: " + ssdpGroup + "\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: " + ssdpTarget + "\r\n\r\n")
	group, _ := net.ResolveUDPAddr("udp4", ssdpGroup)
	b := make([]byte, 2048)
	var last error
	for range 3 {
		conn.WriteTo(ask, group)
		conn.WriteTo(ask, net.UDPAddrFromAddrPort(netip.AddrPortFrom(r.Gateway, ssdpPort)))
		conn.SetReadDeadline(time.Now().Add(700 * time.Millisecond))
		if ctx.Err() != nil {
			break
		}
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				break
			}
			if a, ok := from.(*net.UDPAddr); !ok || a.AddrPort().Addr().Unmap() != r.Gateway {
				continue
			}
			location, err := parseSSDP(b[:n])
			if err == nil {
				err = ofGateway(location, r)
			}
			if err == nil {
				return location, nil
			}
			last = err
		}
	}
	if last != nil {
		return nil, fail(Nonsense, "%v", last)
	}
	return nil, fail(Silent, "no answer")
}

// parseSSDP reads the answer to a search and returns its LOCATION.
func parseSSDP(b []byte) (*url.URL, error) {
	resp, err := http.ReadResponse(bufio.NewReader(io.LimitReader(bytes.NewReader(b), 2048)), nil)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	u, err := url.Parse(strings.TrimSpace(resp.Header.Get("Location")))
	if err != nil {
		return nil, err
	}
	if u.Host == "" {
		return nil, errors.New("no location")
	}
	return u, nil
}

// ofGateway refuses an address that is not the gateway's own: the box must not be sent to knock at other doors.
func ofGateway(u *url.URL, r Route) error {
	a, err := netip.ParseAddr(u.Hostname())
	if u.Scheme != "http" || u.User != nil || err != nil || a.Unmap() != r.Gateway {
		return fmt.Errorf("%.80q is not at the gateway", u.String())
	}
	return nil
}

// client makes requests to the gateway: no proxy, no redirect, no connection kept.
func (c *Client) client() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: c.cfg.Network.Dial, DisableKeepAlives: true, MaxResponseHeaderBytes: 16 << 10, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// describe fetches the description and finds the service that maps ports and where to ask it.
func (c *Client) describe(ctx context.Context, r Route, location *url.URL) (control, service string, err error) {
	req, err := http.NewRequestWithContext(ctx, "GET", location.String(), nil)
	if err != nil {
		return "", "", fail(Nonsense, "%v", err)
	}
	resp, err := c.client().Do(req)
	if err != nil {
		return "", "", fail(Silent, "%v", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		return "", "", fail(Nonsense, "its description has status %d", resp.StatusCode)
	}
	path, service, err := parseDescription(io.LimitReader(resp.Body, upnpBytes))
	if err != nil {
		return "", "", fail(Nonsense, "its description: %v", err)
	}
	u, err := location.Parse(path)
	if err == nil {
		err = ofGateway(u, r)
	}
	if err != nil {
		return "", "", fail(Nonsense, "its control address: %v", err)
	}
	return u.String(), service, nil
}

type upnpDevice struct {
	Services []struct {
		Type    string `xml:"serviceType"`
		Control string `xml:"controlURL"`
	} `xml:"serviceList>service"`
	Devices []upnpDevice `xml:"deviceList>device"`
}

// parseDescription finds the best service that maps ports in a device description (UPnP Device Architecture 1.1,
// section 2.3).
func parseDescription(r io.Reader) (control, service string, err error) {
	var root struct {
		Device upnpDevice `xml:"device"`
	}
	if err := decode(r, &root); err != nil {
		return "", "", err
	}
	best := len(upnpServices)
	var walk func(d upnpDevice, depth int)
	walk = func(d upnpDevice, depth int) {
		for _, s := range d.Services {
			if i := slices.Index(upnpServices, strings.TrimSpace(s.Type)); i >= 0 && i < best && strings.TrimSpace(s.Control) != "" {
				best, control, service = i, strings.TrimSpace(s.Control), upnpServices[i]
			}
		}
		if depth < upnpDepth {
			for _, sub := range d.Devices {
				walk(sub, depth+1)
			}
		}
	}
	walk(root.Device, 0)
	if service == "" {
		return "", "", errors.New("it names no service that maps ports")
	}
	return control, service, nil
}

// decode reads one XML document. Routers write legacy encodings in their names; those bytes are taken as they are.
func decode(r io.Reader, into any) error {
	d := xml.NewDecoder(r)
	d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	return d.Decode(into)
}

// soap calls one action (UPnP Device Architecture 1.1, section 3.1). arguments come in pairs, in the order that the
// service's description gives. The answer's arguments come back by name; an error that the gateway named is errUPnP.
func (c *Client) soap(ctx context.Context, r Route, control, service, action string, arguments ...string) (map[string]string, error) {
	u, err := url.Parse(control)
	if err == nil {
		err = ofGateway(u, r)
	}
	if err != nil {
		return nil, fail(Nonsense, "%v", err)
	}
	var b bytes.Buffer
	b.WriteString(`<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>`)
	fmt.Fprintf(&b, `<u:%s xmlns:u="%s">`, action, service)
	for i := 0; i+1 < len(arguments); i += 2 {
		fmt.Fprintf(&b, "<%s>", arguments[i])
		xml.EscapeText(&b, []byte(arguments[i+1]))
		fmt.Fprintf(&b, "</%s>", arguments[i])
	}
	fmt.Fprintf(&b, `</u:%s></s:Body></s:Envelope>`, action)
	req, err := http.NewRequestWithContext(ctx, "POST", u.String(), &b)
	if err != nil {
		return nil, fail(Nonsense, "%v", err)
	}
	req.Header.Set("Content-Type", `text/xml; charset="utf-8"`)
	req.Header["SOAPAction"] = []string{`"` + service + "#" + action + `"`} // some routers compare the case of the name
	resp, err := c.client().Do(req)
	if err != nil {
		return nil, fail(Silent, "%v", err)
	}
	defer resp.Body.Close()
	values, fault, err := parseSOAP(io.LimitReader(resp.Body, upnpBytes), action)
	switch {
	case fault != nil:
		return nil, fault
	case resp.StatusCode == 401 || resp.StatusCode == 403:
		return nil, fail(Refused, "status %d", resp.StatusCode)
	case resp.StatusCode != 200:
		return nil, fail(Nonsense, "status %d", resp.StatusCode)
	case err != nil:
		return nil, fail(Nonsense, "%v", err)
	}
	return values, nil
}

// parseSOAP reads the answer to an action: its arguments, or the fault.
func parseSOAP(r io.Reader, action string) (map[string]string, *errUPnP, error) {
	var doc struct {
		XMLName xml.Name
		Body    struct {
			Fault *struct {
				Code        int    `xml:"detail>UPnPError>errorCode"`
				Description string `xml:"detail>UPnPError>errorDescription"`
			} `xml:"Fault"`
			Answers []struct {
				XMLName xml.Name
				Values  []struct {
					XMLName xml.Name
					Text    string `xml:",chardata"`
				} `xml:",any"`
			} `xml:",any"`
		} `xml:"Body"`
	}
	if err := decode(r, &doc); err != nil {
		return nil, nil, err
	}
	if doc.XMLName.Local != "Envelope" {
		return nil, nil, errors.New("no envelope")
	}
	if f := doc.Body.Fault; f != nil {
		d := strings.TrimSpace(f.Description)
		if len(d) > 100 {
			d = d[:100]
		}
		if d == "" && (f.Code == upnpNotAuthorized || f.Code == upnpActionForbidden) {
			d = "not allowed"
		}
		return nil, &errUPnP{f.Code, d}, nil
	}
	for _, a := range doc.Body.Answers {
		if a.XMLName.Local == action+"Response" {
			values := make(map[string]string, len(a.Values))
			for _, v := range a.Values {
				values[v.XMLName.Local] = v.Text
			}
			return values, nil, nil
		}
	}
	return nil, nil, fmt.Errorf("no answer to %s", action)
}
