package keeper

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"hearth.alt/services"
	"hearth.alt/services/durable"
	"hearth.alt/services/firewall"
	"hearth.alt/services/secret"
)

// The wire, between a child and its keeper on a pair of unix sockets of type SOCK_SEQPACKET, so that each message
// arrives whole with its descriptor or not at all:
//
//	message   4 bytes length n of what follows, big endian, at most maxFrame; n bytes of JSON (RFC 8259), one object
//	question  {"id": 7, "call": "sign-record", "in": {...}}      id from 1 on, chosen by the child; never with a descriptor
//	answer    {"id": 7, "out": {...}}                            with one descriptor when the call gives a file
//	          {"id": 7, "problem": {"kind", "code", "field", "key", "text", "args", "cause"}}
//
// Byte strings are base64 (RFC 4648, section 4). The keeper refuses a question with an unknown call or field, with
// anything after the object, or with an id of 0, by one answer with the problem "keeper-invalid" (and id 0 when the
// question's could not be read) and goes on; nothing was changed. It works on at most maxInFlight questions at a time
// and reads no more until one is answered. Answers come in any order.
const (
	maxFrame    = 64 << 10
	maxInFlight = 16
	callTimeout = 30 * time.Second
)

type question struct {
	ID   uint64          `json:"id"`
	Call string          `json:"call"`
	In   json.RawMessage `json:"in"`
}

type answer struct {
	ID      uint64          `json:"id"`
	Out     json.RawMessage `json:"out,omitempty"`
	Problem *wireProblem    `json:"problem,omitempty"`
}

type wireProblem struct {
	Kind  services.Kind  `json:"kind"`
	Code  string         `json:"code"`
	Field string         `json:"field,omitempty"`
	Key   string         `json:"key"`
	Text  string         `json:"text"`
	Args  map[string]any `json:"args,omitempty"`
	Cause string         `json:"cause,omitempty"`
}

// unpackFrame returns the JSON of a message.
func unpackFrame(b []byte) ([]byte, error) {
	if len(b) < 4 {
		return nil, fmt.Errorf("a message of %d bytes", len(b))
	}
	if n := binary.BigEndian.Uint32(b); n > maxFrame || int(n) != len(b)-4 {
		return nil, fmt.Errorf("a message of %d bytes says it has %d", len(b)-4, n)
	}
	return b[4:], nil
}

func packFrame(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(b) > maxFrame {
		return nil, because(ErrInvalid, fmt.Errorf("a message of %d bytes, at most %d", len(b), maxFrame))
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...), nil
}

// strict decodes one JSON value into v, refusing unknown fields and anything after it.
func strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the value")
	}
	return nil
}

// parseQuestion reads a message from a child. The id is what could be read of it, for the answer.
func parseQuestion(b []byte) (question, error) {
	var q question
	text, err := unpackFrame(b)
	if err != nil {
		return q, err
	}
	if err := strict(text, &q); err != nil {
		return q, err
	}
	if q.ID == 0 {
		return q, errors.New("a question without an id")
	}
	if _, ok := calls[q.Call]; !ok {
		return q, fmt.Errorf("unknown call %q", q.Call)
	}
	return q, nil
}

// The inputs and outputs of the calls that need types of their own.
type (
	empty     struct{}
	message   struct{ Message []byte }
	signature struct{ Signature []byte }
	keyOut    struct{ Key []byte }
	wordsOut  struct{ Words []string }
	textOut   struct{ Text string }
	entropies struct{ Entropies [][]byte }
	certsOut  struct{ Root, Intermediate []byte }
	nameIn    struct{ Name string }
	powerIn   struct{ How Power }
	peer      struct{ ID services.PeerID }
	tunOut    struct {
		Name  string
		Index int
		Kept  bool
	}
)

func revealed(list []secret.Bytes) (out entropies) {
	for _, e := range list {
		out.Entropies = append(out.Entropies, e.Reveal())
	}
	return out
}

func (e entropies) secret() (out []secret.Bytes) {
	for _, b := range e.Entropies {
		out = append(out, secret.NewBytes(b))
	}
	return out
}

// call is one entry of the table that the keeper serves from.
type call func(ctx context.Context, k Keeper, in json.RawMessage) (out any, file *os.File, err error)

// handle makes an entry of a function whose input is read strictly.
func handle[In any](f func(ctx context.Context, k Keeper, in In) (any, *os.File, error)) call {
	return func(ctx context.Context, k Keeper, raw json.RawMessage) (any, *os.File, error) {
		var in In
		if err := strict(raw, &in); err != nil {
			return nil, nil, because(ErrInvalid, err)
		}
		return f(ctx, k, in)
	}
}

// The names of the calls.
const (
	callInfo            = "info"
	callListen          = "listen"
	callOpenTUN         = "open-tun"
	callApplyFirewall   = "apply-firewall"
	callSetHostname     = "set-hostname"
	callSignRecord      = "sign-record"
	callSignCheckpoint  = "sign-checkpoint"
	callSignStatement   = "sign-statement"
	callSignHandshake   = "sign-handshake"
	callNextDevice      = "next-device"
	callAdoptDevice     = "adopt-device"
	callClientKey       = "client-key"
	callMakeRoot        = "make-root"
	callRootWords       = "root-words"
	callSignWithRoot    = "sign-with-root"
	callEraseRoot       = "erase-root"
	callNextRoots       = "next-roots"
	callKeepNextRoots   = "keep-next-roots"
	callMakeCA          = "make-ca"
	callCACertificates  = "ca-certificates"
	callSignCertificate = "sign-certificate"
	callClaimSecret     = "claim-secret"
	callForgetClaim     = "forget-claim-secret"
	callPower           = "power"
	callMachine         = "machine"
)

var calls = map[string]call{
	callInfo: handle(func(ctx context.Context, k Keeper, _ empty) (any, *os.File, error) {
		i, err := k.Info(ctx)
		return i, nil, err
	}),
	callListen: handle(func(ctx context.Context, k Keeper, in ListenSpec) (any, *os.File, error) {
		f, err := k.Listen(ctx, in)
		return empty{}, f, err
	}),
	callOpenTUN: handle(func(ctx context.Context, k Keeper, in TUNSpec) (any, *os.File, error) {
		t, err := k.OpenTUN(ctx, in)
		if err != nil {
			return nil, nil, err
		}
		return tunOut{t.Name, t.Index, t.Kept}, t.File, nil
	}),
	callApplyFirewall: handle(func(ctx context.Context, k Keeper, in firewall.State) (any, *os.File, error) {
		return empty{}, nil, k.ApplyFirewall(ctx, in)
	}),
	callSetHostname: handle(func(ctx context.Context, k Keeper, in nameIn) (any, *os.File, error) {
		return empty{}, nil, k.SetHostname(ctx, in.Name)
	}),
	callSignRecord: handle(func(ctx context.Context, k Keeper, in message) (any, *os.File, error) {
		s, err := k.SignRecord(ctx, in.Message)
		return signature{s}, nil, err
	}),
	callSignCheckpoint: handle(func(ctx context.Context, k Keeper, in message) (any, *os.File, error) {
		s, err := k.SignCheckpoint(ctx, in.Message)
		return signature{s}, nil, err
	}),
	callSignStatement: handle(func(ctx context.Context, k Keeper, in message) (any, *os.File, error) {
		s, err := k.SignStatement(ctx, in.Message)
		return signature{s}, nil, err
	}),
	callSignHandshake: handle(func(ctx context.Context, k Keeper, in message) (any, *os.File, error) {
		s, err := k.SignHandshake(ctx, in.Message)
		return signature{s}, nil, err
	}),
	callNextDevice: handle(func(ctx context.Context, k Keeper, _ empty) (any, *os.File, error) {
		id, err := k.NextDevice(ctx)
		return peer{id}, nil, err
	}),
	callAdoptDevice: handle(func(ctx context.Context, k Keeper, in peer) (any, *os.File, error) {
		return empty{}, nil, k.AdoptDevice(ctx, in.ID)
	}),
	callClientKey: handle(func(ctx context.Context, k Keeper, _ empty) (any, *os.File, error) {
		b, err := k.ClientKey(ctx)
		return keyOut{b.Reveal()}, nil, err
	}),
	callMakeRoot: handle(func(ctx context.Context, k Keeper, _ empty) (any, *os.File, error) {
		p, err := k.MakeRoot(ctx)
		return keyOut{p}, nil, err
	}),
	callRootWords: handle(func(ctx context.Context, k Keeper, _ empty) (any, *os.File, error) {
		words, err := k.RootWords(ctx)
		out := wordsOut{Words: make([]string, len(words))}
		for i, w := range words {
			out.Words[i] = w.Reveal()
		}
		return out, nil, err
	}),
	callSignWithRoot: handle(func(ctx context.Context, k Keeper, in message) (any, *os.File, error) {
		s, err := k.SignWithRoot(ctx, in.Message)
		return signature{s}, nil, err
	}),
	callEraseRoot: handle(func(ctx context.Context, k Keeper, _ empty) (any, *os.File, error) {
		return empty{}, nil, k.EraseRoot(ctx)
	}),
	callNextRoots: handle(func(ctx context.Context, k Keeper, _ empty) (any, *os.File, error) {
		list, err := k.NextRoots(ctx)
		return revealed(list), nil, err
	}),
	callKeepNextRoots: handle(func(ctx context.Context, k Keeper, in entropies) (any, *os.File, error) {
		return empty{}, nil, k.KeepNextRoots(ctx, in.secret())
	}),
	callMakeCA: handle(func(ctx context.Context, k Keeper, in CASpec) (any, *os.File, error) {
		return empty{}, nil, k.MakeCA(ctx, in)
	}),
	callCACertificates: handle(func(ctx context.Context, k Keeper, _ empty) (any, *os.File, error) {
		root, intermediate, err := k.CACertificates(ctx)
		return certsOut{root, intermediate}, nil, err
	}),
	callSignCertificate: handle(func(ctx context.Context, k Keeper, in message) (any, *os.File, error) {
		s, err := k.SignCertificate(ctx, in.Message)
		return signature{s}, nil, err
	}),
	callClaimSecret: handle(func(ctx context.Context, k Keeper, _ empty) (any, *os.File, error) {
		t, err := k.ClaimSecret(ctx)
		return textOut{t.Reveal()}, nil, err
	}),
	callForgetClaim: handle(func(ctx context.Context, k Keeper, _ empty) (any, *os.File, error) {
		return empty{}, nil, k.ForgetClaimSecret(ctx)
	}),
	callPower: handle(func(ctx context.Context, k Keeper, in powerIn) (any, *os.File, error) {
		return empty{}, nil, k.Power(ctx, in.How)
	}),
	callMachine: handle(func(ctx context.Context, k Keeper, _ empty) (any, *os.File, error) {
		m, err := k.Machine(ctx)
		return m, nil, err
	}),
}

// toWire and fromWire carry an error across. Arguments of sentences are text and numbers on the other side.
func toWire(err error) *wireProblem {
	p := services.AsProblem(err)
	if p.Kind == services.KindInternal && durable.Full(err) {
		p = &services.Problem{Kind: services.ErrDiskFull.Kind, Code: services.ErrDiskFull.Code, Say: services.ErrDiskFull.Say, Cause: err}
	}
	w := &wireProblem{Kind: p.Kind, Code: p.Code, Field: p.Field, Key: p.Say.Key, Text: p.Say.Text}
	for name, v := range p.Say.Args {
		if w.Args == nil {
			w.Args = map[string]any{}
		}
		switch v.(type) {
		case int, int64, string:
			w.Args[name] = v
		default:
			w.Args[name] = fmt.Sprint(v)
		}
	}
	if p.Cause != nil {
		w.Cause = p.Cause.Error()
		w.Cause = w.Cause[:min(len(w.Cause), 4096)]
	}
	return w
}

func (w *wireProblem) problem() error {
	p := &services.Problem{Kind: w.Kind, Code: w.Code, Field: w.Field, Say: services.Sentence{Key: w.Key, Text: w.Text, Args: w.Args}}
	if w.Cause != "" {
		p.Cause = errors.New(w.Cause)
	}
	return p
}

// send writes one message, with file's descriptor if there is one.
func send(c *net.UnixConn, v any, file *os.File) error {
	b, err := packFrame(v)
	if err != nil {
		return err
	}
	if file == nil {
		_, _, err = c.WriteMsgUnix(b, nil, nil)
		return err
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = raw.Control(func(fd uintptr) { _, _, sendErr = c.WriteMsgUnix(b, unix.UnixRights(int(fd)), nil) })
	return errors.Join(err, sendErr)
}

// receive reads one message into buf and the descriptor that came with it; every further one is closed.
func receive(c *net.UnixConn, buf []byte) (b []byte, file *os.File, err error) {
	var oob [256]byte
	n, oobn, flags, _, err := c.ReadMsgUnix(buf, oob[:])
	if err != nil {
		return nil, nil, err
	}
	if oobn > 0 {
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			return nil, nil, err
		}
		for i := range messages {
			fds, err := unix.ParseUnixRights(&messages[i])
			if err != nil {
				continue
			}
			for _, fd := range fds {
				unix.CloseOnExec(fd)
				if file == nil {
					file = os.NewFile(uintptr(fd), "from the keeper")
				} else {
					unix.Close(fd)
				}
			}
		}
	}
	if flags&unix.MSG_TRUNC != 0 {
		return buf[:0], file, nil // too long: it is refused as a message without a length
	}
	return buf[:n], file, nil
}
