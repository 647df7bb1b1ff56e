package sim

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"

	"hearth.alt/services"
	"hearth.alt/services/identity"
)

// This file writes and reads the formats of services/identity once more, from what its documentation says of the bytes.

type op byte

const (
	opGenesis op = 1 + iota
	opAddBox
	opAddPerson
	opSetRole
	opRenamePerson
	opActivatePerson
	opSetLAN
	opRemovePerson
	opAddDevice
	opActivateDevice
	opRenameDevice
	opRemoveDevice
	opRemoveBox
	opEpoch
	opNewer op = 200 // of a program that is not written yet
)

const (
	kindBox  = 1
	kindRoot = 2
)

type (
	recordID [32]byte
	author   struct {
		kind byte
		key  [32]byte
	}
)

// record is a signed record.
type record struct {
	op      op
	author  author
	seq     uint64
	time    uint64
	by, via string // identifiers as text, "" for none
	parents []recordID
	payload []byte

	raw []byte
	id  recordID
}

var idText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func rawID(text string) []byte {
	b, err := idText.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return b
}

// unsigned returns the bytes that are signed, without the domain.
func (r *record) unsigned() []byte {
	b := append([]byte{1, byte(r.op), r.author.kind}, r.author.key[:]...)
	b = binary.BigEndian.AppendUint64(b, r.seq)
	b = binary.BigEndian.AppendUint64(b, r.time)
	switch {
	case r.via != "":
		b = append(append(append(b, 3), rawID(r.by)...), rawID(r.via)...)
	case r.by != "":
		b = append(append(b, 1), rawID(r.by)...)
	default:
		b = append(b, 0)
	}
	slices.SortFunc(r.parents, func(a, b recordID) int { return slices.Compare(a[:], b[:]) })
	r.parents = slices.Compact(r.parents)
	b = append(b, byte(len(r.parents)))
	for _, p := range r.parents {
		b = append(b, p[:]...)
	}
	return append(binary.BigEndian.AppendUint16(b, uint16(len(r.payload))), r.payload...)
}

// seal signs the record with key, whoever its author is.
func (r *record) seal(key ed25519.PrivateKey) *record {
	b := r.unsigned()
	r.raw = append(b, ed25519.Sign(key, append([]byte(identity.RecordDomain), b...))...)
	r.id = sha256.Sum256(r.raw)
	return r
}

func (r *record) verify() bool {
	n := len(r.raw) - ed25519.SignatureSize
	return ed25519.Verify(r.author.key[:], append([]byte(identity.RecordDomain), r.raw[:n]...), r.raw[n:])
}

var errBytes = errors.New("not the bytes of a record")

// parseRecord reads b, which holds nothing else.
func parseRecord(b []byte) (r *record, err error) {
	defer func() {
		if recover() != nil { // it is cut short
			r, err = nil, errBytes
		}
	}()
	r = &record{raw: b, id: sha256.Sum256(b)}
	take := func(n int) []byte {
		out := b[:n]
		b = b[n:]
		return out
	}
	if take(1)[0] != 1 {
		return nil, errBytes
	}
	r.op, r.author.kind = op(take(1)[0]), take(1)[0]
	r.author.key = [32]byte(take(32))
	r.seq, r.time = binary.BigEndian.Uint64(take(8)), binary.BigEndian.Uint64(take(8))
	flags := take(1)[0]
	if flags&1 != 0 {
		r.by = idText.EncodeToString(take(10))
	}
	if flags&2 != 0 {
		r.via = idText.EncodeToString(take(10))
	}
	for range take(1)[0] {
		r.parents = append(r.parents, recordID(take(32)))
	}
	r.payload = take(int(binary.BigEndian.Uint16(take(2))))
	take(ed25519.SignatureSize)
	if len(b) > 0 {
		return nil, errBytes
	}
	return r, nil
}

// text appends a text, which has at most 255 bytes.
func text(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }

func genesis(name, label string, net4 [4]byte, net6 [6]byte) []byte {
	b := append(append(text(text(nil, name), label), net4[:]...), net6[:]...)
	return append(b, make([]byte, 32)...)
}

func addBox(id services.PeerID, name, label string, host byte) []byte {
	return append(text(text(slices.Clone(id[:]), name), label), host)
}

func addPerson(id services.PersonID, name string, role services.Role) []byte {
	b := append(text(rawID(string(id)), name), byte(role), 0)
	return append(b, make([]byte, 8)...)
}

func addDevice(id services.DeviceID, of services.PersonID, name string, key services.ClientKey, host byte) []byte {
	b := append(text(append(rawID(string(id)), rawID(string(of))...), name), key[:]...)
	return append(append(b, host), make([]byte, 8)...)
}

func epoch(number uint64, root [32]byte) []byte {
	b := append(binary.BigEndian.AppendUint64(nil, number), root[:]...)
	return append(b, make([]byte, 34)...)
}

// voice is what a box says in a first dispute of the household that genesis began: that a removal does not count.
func voice(genesis *known, removal recordID) []byte {
	b := append(binary.BigEndian.AppendUint64(nil, 1), genesis.author.key[:]...)
	b = append(b, genesis.payload[len(genesis.payload)-32:]...)
	return append(append(append(b, 1), removal[:]...), 0)
}

// voice says whether a box speaks for an epoch with r.
func (r *record) voice() bool { return r.op == opEpoch && r.author.kind == kindBox }

// voids are the records that an epoch names as void, keeps the newest of the branches that it keeps.
func (r *record) voids() []recordID { voids, _ := recordIDs(r.payload[72:]); return voids }

func (r *record) keeps() []recordID {
	_, rest := recordIDs(r.payload[72:])
	keeps, _ := recordIDs(rest)
	return keeps
}

// recordIDs reads a list with its length before it.
func recordIDs(b []byte) (out []recordID, rest []byte) {
	n, b := int(b[0]), b[1:]
	for range n {
		out, b = append(out, recordID(b[:32])), b[32:]
	}
	return out, b
}

// subject is whom the record adds, changes or removes: the text of an identifier, or a box's key as a string.
func (r *record) subject() string {
	switch r.op {
	case opAddBox, opRemoveBox:
		return string(r.payload[:32])
	case opGenesis, opEpoch, opNewer:
		return ""
	}
	return idText.EncodeToString(r.payload[:10])
}

// name is the name that the record gives.
func (r *record) name() string {
	at := map[op]int{opAddBox: 32, opAddPerson: 10, opRenamePerson: 10, opAddDevice: 20, opRenameDevice: 10}[r.op]
	if at == 0 {
		return ""
	}
	n := int(r.payload[at])
	return string(r.payload[at+1 : at+1+n])
}

// host is the last byte of the address that the record gives.
func (r *record) host() byte {
	if r.op == opAddDevice {
		return r.payload[len(r.payload)-9]
	}
	return r.payload[len(r.payload)-1]
}

func (r *record) isRemoval() bool {
	return r.op == opRemovePerson || r.op == opRemoveDevice || r.op == opRemoveBox
}

// frames

const (
	frameHave    = 1
	frameRecords = 2
	mostRecords  = 64
)

func haveFrame(ids ...recordID) []byte {
	b := binary.BigEndian.AppendUint16([]byte{frameHave}, uint16(len(ids)))
	for _, id := range ids {
		b = append(b, id[:]...)
	}
	return b
}

func recordsFrame(records ...[]byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{frameRecords}, uint16(len(records)))
	for _, r := range records {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(r))), r...)
	}
	return b
}

// frameOf returns the records of a frame, none for landmarks.
func frameOf(b []byte) (out [][]byte) {
	if b[0] != frameRecords {
		return nil
	}
	n := binary.BigEndian.Uint16(b[1:])
	b = b[3:]
	for range n {
		size := int(binary.BigEndian.Uint16(b))
		out = append(out, b[2:2+size])
		b = b[2+size:]
	}
	return out
}

// split returns the frames of b.
func split(b []byte) (out [][]byte) {
	for len(b) > 0 {
		n := 3
		for range binary.BigEndian.Uint16(b[1:]) {
			if b[0] == frameHave {
				n += 32
			} else {
				n += 2 + int(binary.BigEndian.Uint16(b[n:]))
			}
		}
		out, b = append(out, b[:n]), b[n:]
	}
	return out
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// logFile is the log of the records, one frame.
func logFile(records ...*record) []byte {
	var body []byte
	for _, r := range records {
		body = append(binary.BigEndian.AppendUint16(body, uint16(len(r.raw))), r.raw...)
	}
	b := []byte("HEARTHL\x01")
	head := binary.BigEndian.AppendUint32([]byte("hlfr"), uint32(len(body)))
	head = binary.BigEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))
	b = append(append(b, head...), body...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(body, castagnoli))
}
