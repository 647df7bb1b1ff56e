package dns

import (
	"encoding/binary"
	"errors"

	"github.com/miekg/dns"
)

// Limits of messages.
const (
	headerLen = 12
	maxUDP    = 1232 // what fits any path without fragments (DNS flag day 2020)
	minUDP    = dns.MinMsgSize
	maxQuery  = 4096 // bytes of a question we read
	optLen    = 11
	optEDELen = optLen + 6 + 64 // with the longest reason
)

// Why an answer is not what was hoped for, as indexes of reasons; 0 is no reason.
const (
	staleEDE = iota + 1
	filterEDE
	networkEDE
	chainEDE
)

// reasons are extended errors (RFC 8914) and what people read beside them, at most 64 bytes.
var reasons = [...]struct {
	code uint16
	text string
}{
	staleEDE:   {code: dns.ExtendedErrorCodeStaleAnswer},
	filterEDE:  {dns.ExtendedErrorCodeFiltered, `an address inside the house; see "hearth dns allow"`},
	networkEDE: {code: dns.ExtendedErrorCodeNetworkError},
	chainEDE:   {dns.ExtendedErrorCodeOther, "too many aliases, or aliases in a circle"},
}

// Flag bits of the header's second word (RFC 1035, section 4.1.1; AD and CD of RFC 4035).
const (
	bitQR = 1 << 15
	bitAA = 1 << 10
	bitTC = 1 << 9
	bitRD = 1 << 8
	bitRA = 1 << 7
	bitAD = 1 << 5
	bitCD = 1 << 4
)

// query is one question as it came, still on the wire.
type query struct {
	raw     []byte // the whole message
	id      uint16
	flags   uint16
	end     int // of the question section; raw[12:end] is the question
	qtype   uint16
	qclass  uint16
	edns    bool
	version uint8
	size    uint16 // what the client can take by UDP
	do      bool
}

var errShort = errors.New("message ends too early")

// errSilent is a message that deserves no answer: too short for a header, or itself an answer.
var errSilent = errors.New("no question")

// parseQuery reads a question without allocating. errSilent wants silence; a nil error with rcode not 0 wants that
// answer, and then only id and flags (and with end > 12 the question) are set.
func parseQuery(b []byte) (q query, rcode int, err error) {
	if len(b) < headerLen {
		return q, 0, errSilent
	}
	q.raw, q.id, q.flags, q.end, q.size = b, binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), headerLen, minUDP
	if q.flags&bitQR != 0 {
		return q, 0, errSilent
	}
	if q.flags>>11&0xF != dns.OpcodeQuery {
		return q, dns.RcodeNotImplemented, nil
	}
	if binary.BigEndian.Uint16(b[4:]) != 1 {
		return q, dns.RcodeFormatError, nil
	}
	off := headerLen
	for { // a question's name cannot be compressed: nothing came before it
		if off >= len(b) {
			return q, dns.RcodeFormatError, nil
		}
		n := int(b[off])
		off++
		if n == 0 {
			break
		}
		if n > 63 || off+n-headerLen > 254 {
			return q, dns.RcodeFormatError, nil
		}
		off += n
	}
	if off+4 > len(b) {
		return q, dns.RcodeFormatError, nil
	}
	q.qtype, q.qclass = binary.BigEndian.Uint16(b[off:]), binary.BigEndian.Uint16(b[off+2:])
	q.end = off + 4
	rest := int(binary.BigEndian.Uint16(b[6:])) + int(binary.BigEndian.Uint16(b[8:]))
	extra := int(binary.BigEndian.Uint16(b[10:]))
	off = q.end
	for i := range rest + extra {
		start := off
		n, t, data, err := nextRR(b, off)
		if err != nil {
			return q, dns.RcodeFormatError, nil
		}
		off = n
		if i >= rest && t == dns.TypeOPT {
			if q.edns || b[start] != 0 {
				return q, dns.RcodeFormatError, nil // RFC 6891, section 6.1.1: one, at the root
			}
			q.edns = true
			q.size = max(minUDP, binary.BigEndian.Uint16(b[data-8:]))
			q.version = b[data-5]
			q.do = b[data-4]&0x80 != 0
		}
	}
	return q, 0, nil
}

// nextRR steps over the record at off: where the next begins, this one's type and where its data begin. The data are
// preceded by class (8 bytes before), lifetime (6 before) and length (2 before).
func nextRR(b []byte, off int) (next int, t uint16, data int, err error) {
	for {
		if off >= len(b) {
			return 0, 0, 0, errShort
		}
		n := int(b[off])
		off++
		if n == 0 {
			break
		}
		if n&0xC0 == 0xC0 {
			off++
			break
		}
		if n > 63 {
			return 0, 0, 0, errShort
		}
		off += n
	}
	if off+10 > len(b) {
		return 0, 0, 0, errShort
	}
	t = binary.BigEndian.Uint16(b[off:])
	data = off + 10
	next = data + int(binary.BigEndian.Uint16(b[off+8:]))
	if next > len(b) {
		return 0, 0, 0, errShort
	}
	return next, t, data, nil
}

// ttlOffsets finds every lifetime in an answer of ours.
func ttlOffsets(b []byte, end int) ([]uint16, error) {
	n := int(binary.BigEndian.Uint16(b[6:])) + int(binary.BigEndian.Uint16(b[8:])) + int(binary.BigEndian.Uint16(b[10:]))
	out := make([]uint16, 0, n)
	for off := end; n > 0; n-- {
		next, _, data, err := nextRR(b, off)
		if err != nil {
			return nil, err
		}
		out = append(out, uint16(data-6))
		off = next
	}
	return out, nil
}

// appendKey appends what an answer in the cache is found by: the name in lower case, type, class, DO and CD.
func (q *query) appendKey(dst []byte) []byte {
	for _, c := range q.raw[headerLen:q.end] {
		// Length bytes are below 64 and so never letters; type and class are put right below.
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	n := len(dst)
	binary.BigEndian.PutUint16(dst[n-4:], q.qtype)
	binary.BigEndian.PutUint16(dst[n-2:], q.qclass)
	var bits byte
	if q.do {
		bits |= 1
	}
	if q.flags&bitCD != 0 {
		bits |= 2
	}
	return append(dst, bits)
}

// limit is how long the answer may be.
func (q *query) limit(stream bool) int {
	switch {
	case stream:
		return dns.MaxMsgSize
	case q.edns:
		return int(min(q.size, maxUDP))
	}
	return minUDP
}

// optLen is how long the OPT record for ede is; 0 when the asker wants none.
func (q *query) optLen(ede uint16) int {
	switch {
	case !q.edns:
		return 0
	case ede == 0:
		return optLen
	}
	return optLen + 6 + len(reasons[ede].text)
}

// appendOPT appends our OPT record (RFC 6891), with an extended error (RFC 8914) when ede is not 0.
func (q *query) appendOPT(dst []byte, rcode int, ede uint16) []byte {
	var do byte
	if q.do {
		do = 0x80
	}
	dst = append(dst, 0, 0, byte(dns.TypeOPT), maxUDP>>8, maxUDP&0xFF, byte(rcode>>4), 0, do, 0)
	if ede == 0 {
		return append(dst, 0, 0)
	}
	why := reasons[ede]
	n := byte(2 + len(why.text))
	dst = append(dst, 0, 4+n, 0, dns.EDNS0EDE, 0, n, byte(why.code>>8), byte(why.code))
	return append(dst, why.text...)
}

// appendBare appends an answer without records: the header, the question as it was asked, and OPT.
func (q *query) appendBare(dst []byte, flags uint16, rcode int, ede uint16) []byte {
	flags |= bitQR | bitRA | q.flags&(bitRD|bitCD) | uint16(rcode&0xF)
	opcode := q.flags & (0xF << 11)
	dst = binary.BigEndian.AppendUint16(dst, q.id)
	dst = binary.BigEndian.AppendUint16(dst, flags|opcode)
	var qd, ar byte
	if q.end > headerLen {
		qd = 1
	}
	if q.edns {
		ar = 1
	}
	dst = append(dst, 0, qd, 0, 0, 0, 0, 0, ar)
	dst = append(dst, q.raw[headerLen:q.end]...)
	if q.edns {
		dst = q.appendOPT(dst, rcode, ede)
	}
	return dst
}
