package firewall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
)

// ErrReadBack is matched by the error of Apply when the kernel took the rules and then showed others.
var ErrReadBack = errors.New("the kernel's rules differ from those that were set")

// Apply makes the own table exactly what Compose makes of s, in one transaction, and reads it back. When the kernel
// has it already, nothing is written; when only elements of sets differ, only those are. Then it lets the kernel
// forward packets for the TUN: on a device for the machine, elsewhere for the TUN alone.
//
// It needs CAP_NET_ADMIN in the network namespace of the calling thread. Two calls must not overlap.
func Apply(ctx context.Context, s State) error {
	if err := s.Check(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	want := Compose(s)
	if want.Table == "" {
		return nil
	}
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("opening nft: %w", err)
	}
	have, err := load(conn, want)
	if err != nil {
		return fmt.Errorf("reading the table %q: %w", want.Table, err)
	}
	if have.shape == nil || !slices.Equal(have.shape, want.shape()) {
		if err := replace(conn, want); err != nil {
			return fmt.Errorf("replacing the table %q: %w", want.Table, err)
		}
	} else if changed, err := have.update(conn, want); err != nil {
		return fmt.Errorf("updating the table %q: %w", want.Table, err)
	} else if !changed {
		return forwarding(s)
	}
	have, err = load(conn, want)
	if err != nil {
		return fmt.Errorf("reading the table %q back: %w", want.Table, err)
	}
	if d := have.differs(want); d != "" {
		return fmt.Errorf("table %q: %w: %s", want.Table, ErrReadBack, d)
	}
	return forwarding(s)
}

// Verify says how the kernel's table differs from what Compose makes of s; nil when it does not.
func Verify(s State) error {
	want := Compose(s)
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("opening nft: %w", err)
	}
	have, err := load(conn, want)
	if err != nil {
		return fmt.Errorf("reading the table %q: %w", want.Table, err)
	}
	if d := have.differs(want); d != "" {
		return fmt.Errorf("table %q: %w: %s", want.Table, ErrReadBack, d)
	}
	return nil
}

// Remove takes the own table of s away. A laptop calls it at a clean stop; a device never does, so that it stays
// closed. A table that is not there is no error.
func Remove(s State) error {
	if want := Compose(s); want.Table != "" {
		conn, err := nftables.New()
		if err != nil {
			return fmt.Errorf("opening nft: %w", err)
		}
		t := &nftables.Table{Family: nftables.TableFamilyINet, Name: want.Table}
		// Adding first makes deleting a table that is not there no error.
		conn.AddTable(t)
		conn.DelTable(t)
		if err := conn.Flush(); err != nil {
			return fmt.Errorf("removing the table %q: %w", want.Table, err)
		}
	}
	return nil
}

var (
	hooks      = map[string]*nftables.ChainHook{"input": nftables.ChainHookInput, "output": nftables.ChainHookOutput, "forward": nftables.ChainHookForward, "postrouting": nftables.ChainHookPostrouting}
	priorities = map[string]*nftables.ChainPriority{"filter": nftables.ChainPriorityFilter, "srcnat": nftables.ChainPriorityNATSource}
	policies   = map[string]nftables.ChainPolicy{"accept": nftables.ChainPolicyAccept, "drop": nftables.ChainPolicyDrop}
)

// replace queues the whole table and sends it as one transaction. Adding before deleting lets the same batch work
// whether the table is there or not.
func replace(conn *nftables.Conn, want Ruleset) error {
	t := &nftables.Table{Family: nftables.TableFamilyINet, Name: want.Table}
	conn.AddTable(t)
	conn.DelTable(t)
	conn.AddTable(t)
	ids := map[string]uint32{}
	for _, s := range want.Sets {
		set := s.set(t)
		if err := conn.AddSet(set, s.elements(s.Elements)); err != nil {
			return err
		}
		ids[s.Name] = set.ID
	}
	// Chains first: rules may go to any of them.
	chains := make([]*nftables.Chain, len(want.Chains))
	for i, c := range want.Chains {
		chains[i] = &nftables.Chain{Table: t, Name: c.Name}
		if c.Hook != "" {
			policy := policies[c.Policy]
			chains[i].Type, chains[i].Hooknum, chains[i].Priority, chains[i].Policy = nftables.ChainType(c.Type), hooks[c.Hook], priorities[c.Priority], &policy
		}
		conn.AddChain(chains[i])
	}
	for i, c := range want.Chains {
		for _, r := range c.Rules {
			exprs := slices.Clone(r.exprs)
			for j, e := range exprs {
				if l, ok := e.(*expr.Lookup); ok {
					l := *l
					l.SetID = ids[l.SetName]
					exprs[j] = &l
				}
			}
			conn.AddRule(&nftables.Rule{Table: t, Chain: chains[i], Exprs: exprs})
		}
	}
	return conn.Flush()
}

func (s Set) set(t *nftables.Table) *nftables.Set {
	out := &nftables.Set{Table: t, Name: s.Name, KeyType: s.key, IsMap: s.isMap(), DataType: s.val, KeyByteOrder: binaryutil.BigEndian}
	if len(nftables.ConcatSetTypeElements(s.key)) > 1 {
		out.Concatenation = true
	}
	return out
}

func (s Set) elements(from []Element) []nftables.SetElement {
	var out []nftables.SetElement
	for _, e := range from {
		out = append(out, nftables.SetElement{Key: e.key, Val: e.val})
	}
	return out
}

// kernel is what the kernel holds of a table: its shape (chains, rules and sets, without elements), one line each,
// and the elements of each set. shape is nil when there is no table.
type kernel struct {
	table    *nftables.Table
	shape    []string
	elements map[string][]string // "key value" in hexadecimal, sorted
}

// load reads what the kernel has. nftables v0.3.0 cannot read two expressions back, rt and byteorder, which only
// the MSS rules use; everything else of every rule is compared.
func load(conn *nftables.Conn, want Ruleset) (kernel, error) {
	k := kernel{elements: map[string][]string{}}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return k, err
	}
	for _, t := range tables {
		if t.Name == want.Table {
			k.table = t
		}
	}
	if k.table == nil {
		return k, nil
	}
	k.shape = []string{}
	sets, err := conn.GetSets(k.table)
	if err != nil {
		return k, err
	}
	for _, s := range sets {
		s.Table = k.table
		k.shape = append(k.shape, fmt.Sprintf("set %s %d %d %v", s.Name, s.KeyType.Bytes, s.DataType.Bytes, s.IsMap))
		all, err := conn.GetSetElements(s)
		if err != nil {
			return k, err
		}
		k.elements[s.Name] = []string{}
		for _, e := range all {
			k.elements[s.Name] = append(k.elements[s.Name], fmt.Sprintf("%x %x", e.Key, e.Val))
		}
		slices.Sort(k.elements[s.Name])
	}
	chains, err := conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return k, err
	}
	for _, c := range chains {
		if c.Table.Name != want.Table {
			continue
		}
		hook := ""
		if c.Hooknum != nil && c.Priority != nil && c.Policy != nil {
			hook = fmt.Sprintf("%s %d %d %d", c.Type, *c.Hooknum, *c.Priority, *c.Policy)
		}
		k.shape = append(k.shape, fmt.Sprintf("chain %s %s", c.Name, hook))
		rules, err := conn.GetRules(k.table, c)
		if err != nil {
			return k, err
		}
		for _, r := range rules {
			line, err := ruleLine(r.Exprs)
			if err != nil {
				return k, err
			}
			k.shape = append(k.shape, line)
		}
	}
	return k, nil
}

// shape is what load makes of a kernel that holds r.
func (r Ruleset) shape() []string {
	out := []string{}
	for _, s := range r.Sets {
		out = append(out, fmt.Sprintf("set %s %d %d %v", s.Name, s.key.Bytes, s.val.Bytes, s.isMap()))
	}
	for _, c := range r.Chains {
		hook := ""
		if c.Hook != "" {
			hook = fmt.Sprintf("%s %d %d %d", c.Type, *hooks[c.Hook], *priorities[c.Priority], policies[c.Policy])
		}
		out = append(out, fmt.Sprintf("chain %s %s", c.Name, hook))
		for _, rule := range c.Rules {
			line, err := ruleLine(rule.exprs)
			if err != nil {
				line = err.Error() // cannot be: every expression here marshals
			}
			out = append(out, line)
		}
	}
	return out
}

func ruleLine(exprs []expr.Any) (string, error) {
	var line bytes.Buffer
	line.WriteString("rule")
	for _, e := range exprs {
		switch x := e.(type) {
		case *expr.Rt, *expr.Byteorder, *expr.Counter:
			continue
		case *expr.Lookup:
			l := *x
			l.SetID = 0
			e = &l
		case *expr.Masq:
			// The kernel leaves registers it does not use out, the library writes them or not by its own rule.
			fmt.Fprintf(&line, " masq %v %v", x.Random, x.FullyRandom)
			continue
		}
		b, err := expr.Marshal(byte(nftables.TableFamilyINet), e)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&line, " %x", b)
	}
	return line.String(), nil
}

func (s Set) lines() []string {
	out := []string{}
	for _, e := range s.Elements {
		out = append(out, fmt.Sprintf("%x %x", e.key, e.val))
	}
	slices.Sort(out)
	return out
}

// differs names the first difference between the kernel and want; "" when there is none.
func (k kernel) differs(want Ruleset) string {
	if want.Table == "" {
		return ""
	}
	if k.shape == nil {
		return "there is no table"
	}
	shape := want.shape()
	for i := range max(len(shape), len(k.shape)) {
		switch {
		case i >= len(shape):
			return fmt.Sprintf("line %d: the kernel has %q beyond the end", i+1, k.shape[i])
		case i >= len(k.shape):
			return fmt.Sprintf("line %d: the kernel lacks %q", i+1, shape[i])
		case shape[i] != k.shape[i]:
			return fmt.Sprintf("line %d: the kernel has %q, want %q", i+1, k.shape[i], shape[i])
		}
	}
	for _, s := range want.Sets {
		if !slices.Equal(k.elements[s.Name], s.lines()) {
			return fmt.Sprintf("set %q: the kernel has %q, want %q", s.Name, k.elements[s.Name], s.lines())
		}
	}
	return ""
}

// update brings the elements of every set forward in one transaction and says whether there was anything to do.
func (k kernel) update(conn *nftables.Conn, want Ruleset) (changed bool, err error) {
	for _, s := range want.Sets {
		have, next := k.elements[s.Name], s.lines()
		if slices.Equal(have, next) {
			continue
		}
		changed = true
		set := s.set(k.table)
		var add []Element
		for _, e := range s.Elements {
			if _, found := slices.BinarySearch(have, fmt.Sprintf("%x %x", e.key, e.val)); !found {
				add = append(add, e)
			}
		}
		var gone []nftables.SetElement
		for _, line := range have {
			if _, found := slices.BinarySearch(next, line); !found {
				var e nftables.SetElement
				if _, err := fmt.Sscanf(line, "%x %x", &e.Key, &e.Val); err != nil && e.Key == nil {
					return false, fmt.Errorf("set %q: element %q", s.Name, line)
				}
				gone = append(gone, e)
			}
		}
		// Deleting comes first: a map's element with another value has the same key.
		if len(gone) > 0 {
			if err := conn.SetDeleteElements(set, gone); err != nil {
				return false, err
			}
		}
		if len(add) > 0 {
			if err := conn.SetAddElements(set, s.elements(add)); err != nil {
				return false, err
			}
		}
	}
	if !changed {
		return false, nil
	}
	return true, conn.Flush()
}

// forwarding lets the kernel forward what the rules let pass; they are in force when this is called.
//
// On a device the whole machine forwards, since replies come in on the home network's interface. A Linux that
// forwards IPv6 stops listening to router advertisements unless accept_ra is 2 (Documentation/networking/ip-sysctl),
// and would forget its default route, so that is set first, on every interface and for those to come.
func forwarding(s State) error {
	if s.TUN == "" {
		return nil
	}
	if !s.Device {
		return errors.Join(
			sysctl("ipv4/conf/"+s.TUN+"/forwarding", "1"), sysctl("ipv6/conf/"+s.TUN+"/forwarding", "1"),
			// From Linux 6.17 on this forwards IPv6 that comes in here while the machine as a whole does not.
			sysctl("ipv6/conf/"+s.TUN+"/force_forwarding", "1"),
		)
	}
	names, err := filepath.Glob("/proc/sys/net/ipv6/conf/*/accept_ra")
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range names {
		if b, err := os.ReadFile(n); err == nil && len(b) > 0 && b[0] == '1' {
			errs = append(errs, os.WriteFile(n, []byte("2"), 0))
		}
	}
	return errors.Join(append(errs, sysctl("ipv4/ip_forward", "1"), sysctl("ipv6/conf/all/forwarding", "1"))...)
}

// sysctl writes a setting below net unless it has that value. One that this kernel or machine does not have (no
// IPv6, the TUN gone since) is no error.
func sysctl(name, value string) error {
	path := "/proc/sys/net/" + name
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the setting %q: %w", name, err)
	}
	if string(bytes.TrimSpace(b)) == value {
		return nil
	}
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("writing the setting %q: %w", name, err)
	}
	return nil
}
