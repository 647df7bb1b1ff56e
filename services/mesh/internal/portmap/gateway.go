package portmap

import (
	"errors"
	"fmt"
	"math"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// errNoGateway says that there is no way to the Internet over IPv4.
var errNoGateway = errors.New("there is no default route over IPv4")

// defaultRoute asks the kernel for the default route over IPv4 with the smallest metric, and for the address used
// towards its gateway.
func defaultRoute() (Route, error) {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{}, netlink.RT_FILTER_DST)
	if err != nil {
		return Route{}, fmt.Errorf("listing routes: %w", err)
	}
	best := math.MaxInt
	var r Route
	for _, x := range routes {
		if x.Dst != nil {
			if ones, _ := x.Dst.Mask.Size(); ones != 0 {
				continue
			}
		}
		gw, ok := netip.AddrFromSlice(x.Gw.To4())
		if !ok || x.Priority >= best {
			continue
		}
		local, _ := netip.AddrFromSlice(x.Src.To4())
		if !local.IsValid() {
			to, err := netlink.RouteGet(x.Gw)
			if err != nil || len(to) == 0 {
				continue
			}
			if local, ok = netip.AddrFromSlice(to[0].Src.To4()); !ok {
				continue
			}
		}
		best, r = x.Priority, Route{gw, local}
	}
	if !r.Gateway.IsValid() {
		return Route{}, errNoGateway
	}
	return r, nil
}
