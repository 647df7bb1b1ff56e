package dns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"hearth.alt/services"
	"hearth.alt/services/durable"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
)

// Bounds of ours: how many domains may point home, and how long their file may be.
const (
	maxHomeward   = 64
	homewardBytes = 64 << 10
)

// The refusals of Allow and Disallow; compare with errors.Is.
var (
	ErrNoDomain = &services.Problem{
		Kind: services.KindInvalid, Code: "no-domain", Field: "domain",
		Say: services.Say("dns.no-domain", "That is no name on the Internet. Write it like nas.example.com."),
	}
	ErrSharedDomain = &services.Problem{
		Kind: services.KindInvalid, Code: "shared-domain", Field: "domain",
		Say: services.Say("dns.shared-domain", "Below that name anybody can have one of their own. Write your whole name."),
	}
	ErrManyDomains = &services.Problem{
		Kind: services.KindConflict, Code: "many-domains", Field: "domain",
		Say: services.Say("dns.many-domains", "That is one name too many. Remove one that is no longer needed."),
	}
	ErrNotAllowed = &services.Problem{
		Kind: services.KindNotFound, Code: "not-allowed", Field: "domain",
		Say: services.Say("dns.not-allowed", "That name is not on the list. Look there for how it is written."),
	}
)

// homeward is the list of domains that may point home. It is safe for concurrent use.
//
// The file is JSON: {"version":1,"domains":["example.com"]}, canonical as canonicalDomain makes them, in order.
type homeward struct {
	path string // "" keeps it in memory
	list atomic.Pointer[[]string]

	mu      sync.Mutex // held while it changes
	damaged atomic.Bool
}

type homewardFile struct {
	Version int      `json:"version"`
	Domains []string `json:"domains"`
}

// newHomeward reads what dir has. With an error the list is empty, and marked as damaged.
func newHomeward(dir string) (*homeward, error) {
	h := &homeward{}
	h.list.Store(&[]string{})
	if dir == "" {
		return h, nil
	}
	h.path = filepath.Join(dir, "homeward.json")
	b, err := durable.ReadSmall(h.path, homewardBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	var list []string
	if err == nil {
		list, err = parseHomeward(b)
	}
	if err != nil {
		h.damaged.Store(true)
		return h, fmt.Errorf("reading the names that may point home: %w", err)
	}
	slices.Sort(list) // somebody may have written there
	list = slices.Compact(list)
	h.list.Store(&list)
	return h, nil
}

func parseHomeward(b []byte) ([]string, error) {
	var f homewardFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, err
	}
	if f.Version != 1 || len(f.Domains) > maxHomeward {
		return nil, fmt.Errorf("version %d with %d domains", f.Version, len(f.Domains))
	}
	for _, d := range f.Domains {
		if c, err := canonicalDomain(d); err != nil || c != d {
			return nil, fmt.Errorf("%q is no domain", d)
		}
	}
	return f.Domains, nil
}

// save makes list the list, on disk first. mu is held.
func (h *homeward) save(list []string) error {
	if h.path != "" {
		b, err := json.Marshal(homewardFile{1, list})
		if err == nil {
			err = durable.MakeDir(filepath.Dir(h.path), 0o700)
		}
		if err == nil && h.damaged.Load() {
			_, err = durable.SetAside(h.path)
		}
		if err == nil {
			err = durable.WriteFile(h.path, b, 0o600)
		}
		if err != nil {
			return fmt.Errorf("writing the names that may point home: %w", err)
		}
	}
	h.damaged.Store(false)
	h.list.Store(&list)
	return nil
}

// allows says whether an answer to a question for name, with a dot at the end, may point home.
func (h *homeward) allows(name string) bool {
	name = "." + strings.ToLower(strings.TrimSuffix(name, "."))
	return slices.ContainsFunc(*h.list.Load(), func(d string) bool { return strings.HasSuffix(name, "."+d) })
}

// canonicalDomain is d in lower case and in ASCII, without a dot at the end. It judges the form only, and
// what it returns it takes again: some forms that IDNA writes it cannot read.
func canonicalDomain(d string) (string, error) {
	d = strings.TrimPrefix(strings.TrimSuffix(strings.TrimSpace(d), "."), "*.")
	if len(d) > 4*253 {
		return "", ErrNoDomain // no character of a domain takes more than 4 bytes, and punycode takes a long one's square
	}
	d, err := idna.Lookup.ToASCII(d)
	if again, unread := idna.Lookup.ToASCII(d); unread != nil || again != d {
		return "", ErrNoDomain
	}
	if _, number := netip.ParseAddr(d); err != nil || number == nil || !strings.Contains(d, ".") || len(d) > 253 {
		return "", ErrNoDomain
	}
	for label := range strings.SplitSeq(d, ".") {
		if label == "" || len(label) > 63 {
			return "", ErrNoDomain
		}
	}
	return d, nil
}

// addressInName are domains that answer with the address that the name itself holds: below them anybody points where
// they like. The public suffix list does not know them.
var addressInName = []string{"nip.io", "sslip.io", "xip.io", "traefik.me", "backname.io"}

// onInternet says whether the public DNS may know d: its last label is no number (RFC 1123, section 2.1; a browser takes
// it for an address), and none of those that are never asked there (RFC 6761, RFC 6762, RFC 7686, RFC 9476).
func onInternet(d string) bool {
	last := d[strings.LastIndexByte(d, '.')+1:]
	number := strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x")
	return !number && !slices.Contains([]string{"alt", "arpa", "invalid", "local", "localhost", "onion"}, last)
}

// Allowed lists the domains whose names may point home, in order. The slice is the caller's.
func (s *Service) Allowed() []string { return slices.Clone(*s.homeward.list.Load()) }

// Allow lets the names of domain and all below it point home from now on; it returns the domain as it is listed. One
// that is listed is no error. A domain below which strangers have names of their own is refused, since any of them could
// point home; one that became such by an update stays until it is removed. Errors: ErrNoDomain, ErrSharedDomain,
// ErrManyDomains.
func (s *Service) Allow(domain string) (string, error) {
	d, err := canonicalDomain(domain)
	if err != nil {
		return "", err
	}
	switch suffix, _ := publicsuffix.PublicSuffix(d); {
	case !onInternet(d):
		return "", ErrNoDomain
	case suffix == d || slices.Contains(addressInName, d):
		return "", ErrSharedDomain
	}
	return d, s.changeHomeward(func(list []string) ([]string, error) {
		at, found := slices.BinarySearch(list, d)
		switch {
		case found:
			return list, nil
		case len(list) >= maxHomeward:
			return nil, ErrManyDomains
		}
		return slices.Insert(list, at, d), nil
	})
}

// Disallow undoes Allow; it returns the domain as it was listed. Of a damaged list nobody knows what was on it: then
// whatever it names is no longer, and the list begins anew. Errors: ErrNoDomain, ErrNotAllowed.
func (s *Service) Disallow(domain string) (string, error) {
	d, err := canonicalDomain(domain)
	if err != nil {
		return "", err
	}
	return d, s.changeHomeward(func(list []string) ([]string, error) {
		at, found := slices.BinarySearch(list, d)
		switch {
		case found:
			return slices.Delete(list, at, at+1), nil
		case s.homeward.damaged.Load():
			return list, nil
		}
		return nil, ErrNotAllowed
	})
}

// changeHomeward changes the list, which edit gets a copy of, and forgets every answer that was judged by the old one.
func (s *Service) changeHomeward(edit func([]string) ([]string, error)) error {
	h := s.homeward
	h.mu.Lock()
	defer h.mu.Unlock()
	list, err := edit(s.Allowed())
	if err != nil {
		return err
	}
	if err := h.save(list); err != nil {
		return err
	}
	s.h.cache.clear()
	return nil
}

// Name implements services.Snapshotter.
func (s *Service) Name() string { return "dns" }

// Snapshot implements services.Snapshotter: the names that may point home, as in their file.
func (s *Service) Snapshot(_ context.Context, w io.Writer) error {
	b, err := json.Marshal(homewardFile{1, s.Allowed()})
	if err == nil {
		_, err = w.Write(b)
	}
	return err
}

// Restore implements services.Snapshotter.
func (s *Service) Restore(_ context.Context, r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, homewardBytes))
	if err != nil {
		return fmt.Errorf("reading a snapshot of the names that may point home: %w", err)
	}
	list, err := parseHomeward(b)
	if err != nil {
		return fmt.Errorf("reading a snapshot of the names that may point home: %w", err)
	}
	slices.Sort(list)
	return s.changeHomeward(func([]string) ([]string, error) { return slices.Compact(list), nil })
}

// ErasePerson implements services.Snapshotter: nothing here is anyone's.
func (s *Service) ErasePerson(context.Context, services.PersonID) error { return nil }

var _ services.Snapshotter = (*Service)(nil)
