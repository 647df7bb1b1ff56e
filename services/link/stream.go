package link

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"

	"hearth.alt/services"
)

// Stream is a stream of bytes between two boxes in both directions, with datagrams beside it. Reading and writing are
// safe at the same time, each in one goroutine at a time. Close ends the own direction only; whoever opened the stream
// reads to the end, or calls Cancel.
type Stream struct {
	q        *quic.Stream
	session  *session
	protocol string
	incoming bool
	queue    chan []byte
	ctx      context.Context
	cancel   context.CancelFunc

	mu         sync.Mutex
	sent, read bool // the direction has ended
	gone       bool
}

// queueLength is how many datagrams wait for their receiver.
const queueLength = 64

// ErrTooLong is returned for a datagram that does not fit a packet of the path, about 1,150 bytes.
var ErrTooLong = errors.New("the datagram is too long for the path")

// Path is where a session goes along.
type Path struct {
	Address netip.AddrPort // of the peer
	Via     string         // "udp", or "tcp" where no UDP passes
}

// Protocol is the ProtocolName that both speak.
func (s *Stream) Protocol() string { return s.protocol }

// Peer is the box at the other end.
func (s *Stream) Peer() services.PeerID { return s.session.peer }

// Path is where the stream goes along at the moment.
func (s *Stream) Path() Path { return s.session.path() }

// Read implements io.Reader; io.EOF is that the peer closed its direction.
func (s *Stream) Read(b []byte) (int, error) {
	n, err := s.q.Read(b)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		s.ended(false, true)
	}
	return n, err
}

// Write implements io.Writer. What it took is on its way, not there.
func (s *Stream) Write(b []byte) (int, error) { return s.q.Write(b) }

// SetDeadline bounds reads and writes; they fail with os.ErrDeadlineExceeded. The zero time is none.
func (s *Stream) SetDeadline(t time.Time) error { return s.q.SetDeadline(t) }

// Close ends the own direction: the peer reads to its end. What was written still arrives.
func (s *Stream) Close() error {
	err := s.q.Close()
	s.ended(true, false)
	return err
}

// Cancel ends both directions at once; what is on its way may be lost.
func (s *Stream) Cancel() {
	s.q.CancelRead(codeFailed)
	s.q.CancelWrite(codeFailed)
	s.cancel() // last, for a handler that now returns closes the stream, which looks finished where it was not reset
	s.ended(true, true)
}

// Context ends with the stream, its session or the service.
func (s *Stream) Context() context.Context { return s.ctx }

// ended notes which direction has ended. A stream that the peer opened has its place until its handler returns.
func (s *Stream) ended(sent, read bool) {
	s.mu.Lock()
	s.sent, s.read = s.sent || sent, s.read || read
	over := s.sent && s.read
	s.mu.Unlock()
	if over && !s.incoming {
		s.leave()
	}
}

// leave gives the place up, once.
func (s *Stream) leave() {
	s.cancel()
	s.mu.Lock()
	gone := s.gone
	s.gone = true
	s.mu.Unlock()
	if gone {
		return
	}
	c := s.session
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.streams, s.q.StreamID())
	if s.incoming {
		if c.serving[s.protocol]--; c.serving[s.protocol] == 0 {
			delete(c.serving, s.protocol)
		}
	}
	c.idle = time.Now()
}

// SendDatagram sends b beside the stream (RFC 9221); it may get lost. The error is ErrTooLong, or the stream's end.
func (s *Stream) SendDatagram(b []byte) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	id := uint64(s.q.StreamID())
	err := s.session.conn.SendDatagram(append(quicvarint.Append(make([]byte, 0, quicvarint.Len(id)+len(b)), id), b...))
	var long *quic.DatagramTooLargeError
	if errors.As(err, &long) {
		return ErrTooLong
	}
	return err
}

// ReceiveDatagram returns the next datagram, which is the caller's. It returns when ctx or the stream ends.
func (s *Stream) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	if s.ctx.Err() != nil {
		return nil, context.Cause(s.ctx)
	}
	select {
	case b := <-s.queue:
		return b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.ctx.Done():
		return nil, context.Cause(s.ctx)
	}
}
