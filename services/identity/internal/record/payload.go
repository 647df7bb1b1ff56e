package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"time"
	"unicode/utf8"

	"hearth.alt/services"
)

// Op is what a record does. The numbers are those of the format.
type Op uint8

// The operations.
const (
	OpGenesis Op = 1 + iota
	OpAddBox
	OpAddPerson
	OpSetRole
	OpRenamePerson
	OpActivatePerson
	OpSetLAN
	OpRemovePerson
	OpAddDevice
	OpActivateDevice
	OpRenameDevice
	OpRemoveDevice
	OpRemoveBox
	OpEpoch
	OpAddFriend
	OpRenameFriend
	OpUpdateFriend
	OpSetGrants
	OpRemoveFriend
	OpReplaceBox
	OpSetLeaving
)

var opNames = [...]string{
	"", "genesis", "add-box", "add-person", "set-role", "rename-person", "activate-person", "set-lan", "remove-person",
	"add-device", "activate-device", "rename-device", "remove-device", "remove-box", "epoch",
	"add-friend", "rename-friend", "update-friend", "set-grants", "remove-friend", "replace-box", "set-leaving",
}

// known says whether o has a payload of its own here.
func (o Op) known() bool { return int(o) < len(opNames) && opNames[o] != "" }

// String is the operation's name, "add-person".
func (o Op) String() string {
	if o.known() {
		return opNames[o]
	}
	return fmt.Sprintf("op-%d", uint8(o))
}

// Payload is what an operation needs to know: one of the types of this package.
type Payload interface {
	op() Op
	append(b []byte) []byte
	check() error
}

// The payloads, one per operation. Names and labels are bounded by the format only (255 bytes of UTF-8 without
// control characters, a DNS label); what a good name is, identity decides before it writes one.
type (
	// Genesis begins a household. Its author is the household root.
	Genesis struct {
		Name, Label string
		Net4        netip.Prefix // 10.x.y.0/24
		Net6        netip.Prefix // a /48 in fd00::/8
		NextRoot    [32]byte     // SHA-256 of the public key that may replace the root; zero for none, in older logs
	}
	// AddBox takes a box in; it may then sign records.
	AddBox struct {
		Box         services.PeerID
		Name, Label string
		Host        uint8
	}
	// AddPerson takes a person in: invited until Expires, or active at once when that is zero.
	AddPerson struct {
		Person  services.PersonID
		Name    string
		Role    services.Role
		LAN     bool
		Expires time.Time
	}
	// SetRole changes what a person may do.
	SetRole struct {
		Person services.PersonID
		Role   services.Role
	}
	// RenamePerson changes a person's name.
	RenamePerson struct {
		Person services.PersonID
		Name   string
	}
	// ActivatePerson ends the waiting of an invited person.
	ActivatePerson struct{ Person services.PersonID }
	// SetLAN says whether a person's devices reach the home network.
	SetLAN struct {
		Person services.PersonID
		LAN    bool
	}
	// RemovePerson removes a person and every device of theirs, for good.
	RemovePerson struct{ Person services.PersonID }
	// AddDevice takes a device in: unscanned until Expires, or active at once when that is zero.
	AddDevice struct {
		Device  services.DeviceID
		Person  services.PersonID
		Name    string
		Key     services.ClientKey
		Host    uint8
		Expires time.Time
	}
	// ActivateDevice says that a device was seen with its key.
	ActivateDevice struct{ Device services.DeviceID }
	// RenameDevice changes a device's name.
	RenameDevice struct {
		Device services.DeviceID
		Name   string
	}
	// RemoveDevice removes a device, for good.
	RemoveDevice struct{ Device services.DeviceID }
	// RemoveBox removes a box, for good.
	RemoveBox struct{ Box services.PeerID }
	// Epoch settles what happened: of all there was before, only its own past counts, but for Void. Its author is the
	// household root, or a box, which then only speaks for it.
	Epoch struct {
		Number   uint64   // 1 for the first, one more each
		Root     [32]byte // the root's public key from here on: the author's, or the one it had announced
		NextRoot [32]byte // SHA-256 of the root's public key that may follow; all zero for none
		Void     []ID     // records of its past that do not count, strictly ascending, at most MaxVoid
		Keep     []ID     // of each box whose key was used twice, the newest record that counts; strictly ascending, at most MaxKeep
	}
	// ReplaceBox removes a box's key for good and puts another in its place; name, label and addresses stay. Its author is
	// the household root.
	ReplaceBox struct{ Box, Key services.PeerID }
	// SetLeaving says what becomes of what a removed person kept. Of two choices the one with the greater Number counts, of
	// two with one Number the more careful.
	SetLeaving struct {
		Person services.PersonID
		Number uint32
		Then   services.Then
	}
	// Unknown is an operation of a newer program, kept as it came.
	Unknown struct {
		Code  Op
		Bytes []byte
	}
)

func (Genesis) op() Op        { return OpGenesis }
func (AddBox) op() Op         { return OpAddBox }
func (AddPerson) op() Op      { return OpAddPerson }
func (SetRole) op() Op        { return OpSetRole }
func (RenamePerson) op() Op   { return OpRenamePerson }
func (ActivatePerson) op() Op { return OpActivatePerson }
func (SetLAN) op() Op         { return OpSetLAN }
func (RemovePerson) op() Op   { return OpRemovePerson }
func (AddDevice) op() Op      { return OpAddDevice }
func (ActivateDevice) op() Op { return OpActivateDevice }
func (RenameDevice) op() Op   { return OpRenameDevice }
func (RemoveDevice) op() Op   { return OpRemoveDevice }
func (RemoveBox) op() Op      { return OpRemoveBox }
func (Epoch) op() Op          { return OpEpoch }
func (ReplaceBox) op() Op     { return OpReplaceBox }
func (SetLeaving) op() Op     { return OpSetLeaving }
func (u Unknown) op() Op      { return u.Code }

func (p Genesis) append(b []byte) []byte {
	b = appendText(appendText(b, p.Name), p.Label)
	net4, net6 := p.Net4.Addr().As4(), p.Net6.Addr().As16()
	b = append(append(b, net4[:]...), net6[:6]...)
	return append(b, p.NextRoot[:]...)
}

func (p AddBox) append(b []byte) []byte {
	b = append(b, p.Box[:]...)
	return append(appendText(appendText(b, p.Name), p.Label), p.Host)
}

func (p AddPerson) append(b []byte) []byte {
	b = appendText(appendID(b, string(p.Person)), p.Name)
	return appendTime(appendBool(append(b, byte(p.Role)), p.LAN), p.Expires)
}

func (p SetRole) append(b []byte) []byte {
	return append(appendID(b, string(p.Person)), byte(p.Role))
}

func (p RenamePerson) append(b []byte) []byte {
	return appendText(appendID(b, string(p.Person)), p.Name)
}

func (p ActivatePerson) append(b []byte) []byte { return appendID(b, string(p.Person)) }
func (p SetLAN) append(b []byte) []byte         { return appendBool(appendID(b, string(p.Person)), p.LAN) }
func (p RemovePerson) append(b []byte) []byte   { return appendID(b, string(p.Person)) }

func (p AddDevice) append(b []byte) []byte {
	b = appendText(appendID(appendID(b, string(p.Device)), string(p.Person)), p.Name)
	return appendTime(append(append(b, p.Key[:]...), p.Host), p.Expires)
}

func (p ActivateDevice) append(b []byte) []byte { return appendID(b, string(p.Device)) }

func (p RenameDevice) append(b []byte) []byte {
	return appendText(appendID(b, string(p.Device)), p.Name)
}

func (p RemoveDevice) append(b []byte) []byte { return appendID(b, string(p.Device)) }
func (p RemoveBox) append(b []byte) []byte    { return append(b, p.Box[:]...) }

func (p Epoch) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, p.Number)
	b = append(append(append(b, p.Root[:]...), p.NextRoot[:]...), byte(len(p.Void)))
	for _, id := range p.Void {
		b = append(b, id[:]...)
	}
	b = append(b, byte(len(p.Keep)))
	for _, id := range p.Keep {
		b = append(b, id[:]...)
	}
	return b
}

func (p ReplaceBox) append(b []byte) []byte { return append(append(b, p.Box[:]...), p.Key[:]...) }

func (p SetLeaving) append(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(appendID(b, string(p.Person)), p.Number), byte(p.Then))
}

func (u Unknown) append(b []byte) []byte { return append(b, u.Bytes...) }

// parsePayload always returns a payload; d.err says whether it is to be used.
func parsePayload(op Op, d *decoder) Payload {
	person := func() services.PersonID { return services.PersonID(d.id()) }
	device := func() services.DeviceID { return services.DeviceID(d.id()) }
	// The fields of a composite literal are evaluated in the order written, which is the order of the format.
	switch op {
	case OpGenesis:
		p := Genesis{Name: d.text(), Label: d.text()}
		p.Net4 = netip.PrefixFrom(netip.AddrFrom4([4]byte(d.take(4))), 24)
		var net6 [16]byte
		copy(net6[:], d.take(6))
		p.Net6 = netip.PrefixFrom(netip.AddrFrom16(net6), 48)
		p.NextRoot = d.key()
		return p
	case OpAddBox:
		return AddBox{Box: d.key(), Name: d.text(), Label: d.text(), Host: d.byte()}
	case OpAddPerson:
		return AddPerson{Person: person(), Name: d.text(), Role: services.Role(d.byte()), LAN: d.bool(), Expires: d.time()}
	case OpSetRole:
		return SetRole{Person: person(), Role: services.Role(d.byte())}
	case OpRenamePerson:
		return RenamePerson{Person: person(), Name: d.text()}
	case OpActivatePerson:
		return ActivatePerson{person()}
	case OpSetLAN:
		return SetLAN{Person: person(), LAN: d.bool()}
	case OpRemovePerson:
		return RemovePerson{person()}
	case OpAddDevice:
		return AddDevice{Device: device(), Person: person(), Name: d.text(), Key: d.key(), Host: d.byte(), Expires: d.time()}
	case OpActivateDevice:
		return ActivateDevice{device()}
	case OpRenameDevice:
		return RenameDevice{Device: device(), Name: d.text()}
	case OpRemoveDevice:
		return RemoveDevice{device()}
	case OpRemoveBox:
		return RemoveBox{d.key()}
	case OpEpoch:
		p := Epoch{Number: d.uint64(), Root: d.key(), NextRoot: d.key()}
		for n := d.byte(); n > 0 && d.err == nil; n-- {
			p.Void = append(p.Void, d.key())
		}
		for n := d.byte(); n > 0 && d.err == nil; n-- {
			p.Keep = append(p.Keep, d.key())
		}
		return p
	case OpAddFriend, OpRenameFriend, OpUpdateFriend, OpSetGrants, OpRemoveFriend:
		return parseFriend(op, d)
	case OpReplaceBox:
		return ReplaceBox{Box: d.key(), Key: d.key()}
	case OpSetLeaving:
		return SetLeaving{Person: person(), Number: d.uint32(), Then: services.Then(d.byte())}
	case 0:
		d.fail("no operation")
	}
	return Unknown{Code: op, Bytes: d.take(len(d.b))}
}

var labelForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// ValidLabel says whether s has the form of a DNS label, in lower case (RFC 1123, section 2.1).
func ValidLabel(s string) bool { return labelForm.MatchString(s) }

// validText allows 1 to 255 bytes of UTF-8 without control characters (C0, DEL, C1). It looks at no Unicode table,
// because two programs with tables of different years must agree on what a record is.
func validText(s string) bool {
	if len(s) == 0 || len(s) > 255 || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return false
		}
	}
	return true
}

func validRole(r services.Role) bool { return r >= services.RoleGuest && r <= services.RoleOwner }
func validHost(h uint8) bool         { return h >= 1 && h <= 254 }

// require joins conditions with what is wrong when they do not hold.
func require(pairs ...any) error {
	for i := 0; i+1 < len(pairs); i += 2 {
		if ok := pairs[i].(bool); !ok {
			return errors.New(pairs[i+1].(string))
		}
	}
	return nil
}

func (p Genesis) check() error {
	net4 := p.Net4.IsValid() && p.Net4.Bits() == 24 && p.Net4.Addr().Is4() && p.Net4 == p.Net4.Masked() && p.Net4.Addr().As4()[0] == 10
	net6 := p.Net6.IsValid() && p.Net6.Bits() == 48 && p.Net6.Addr().Is6() && !p.Net6.Addr().Is4In6() && p.Net6 == p.Net6.Masked() && p.Net6.Addr().As16()[0] == 0xfd
	return require(validText(p.Name), "name", ValidLabel(p.Label), "label", net4, "Net4 is not 10.x.y.0/24", net6, "Net6 is not a local /48")
}

func (p AddBox) check() error {
	return require(!p.Box.IsZero(), "box", validText(p.Name), "name", ValidLabel(p.Label), "label", validHost(p.Host), "host")
}

func (p AddPerson) check() error {
	return require(p.Person.Valid(), "person", validText(p.Name), "name", validRole(p.Role), "role", validTime(p.Expires), "expires")
}

func (p SetRole) check() error {
	return require(p.Person.Valid(), "person", validRole(p.Role), "role")
}

func (p RenamePerson) check() error {
	return require(p.Person.Valid(), "person", validText(p.Name), "name")
}

func (p ActivatePerson) check() error { return require(p.Person.Valid(), "person") }
func (p SetLAN) check() error         { return require(p.Person.Valid(), "person") }
func (p RemovePerson) check() error   { return require(p.Person.Valid(), "person") }

func (p AddDevice) check() error {
	return require(p.Device.Valid(), "device", p.Person.Valid(), "person", validText(p.Name), "name",
		p.Key != services.ClientKey{}, "key", validHost(p.Host), "host", validTime(p.Expires), "expires")
}

func (p ActivateDevice) check() error { return require(p.Device.Valid(), "device") }

func (p RenameDevice) check() error {
	return require(p.Device.Valid(), "device", validText(p.Name), "name")
}

func (p RemoveDevice) check() error { return require(p.Device.Valid(), "device") }

func (p RemoveBox) check() error { return require(!p.Box.IsZero(), "box") }

func (p Epoch) check() error {
	return require(p.Number > 0, "number", p.Root != [32]byte{}, "root",
		len(p.Void) <= MaxVoid && ascending(p.Void), "void", len(p.Keep) <= MaxKeep && ascending(p.Keep), "keep")
}

func ascending(ids []ID) bool {
	for i := 1; i < len(ids); i++ {
		if ids[i-1].Compare(ids[i]) >= 0 {
			return false
		}
	}
	return true
}

func (p ReplaceBox) check() error {
	return require(!p.Box.IsZero() && !p.Key.IsZero() && p.Box != p.Key, "box")
}

func (p SetLeaving) check() error {
	return require(p.Person.Valid(), "person", p.Number > 0, "number", p.Then.Valid(), "choice")
}

func (u Unknown) check() error {
	return require(!u.Code.known(), "a known operation without its payload", len(u.Bytes) <= MaxPayload, "too long")
}
