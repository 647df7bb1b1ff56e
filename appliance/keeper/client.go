package keeper

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hearth.alt/services"
	"hearth.alt/services/firewall"
	"hearth.alt/services/secret"
)

// ChildFD is the descriptor on which a child of Run finds its end of the socket pair.
const ChildFD = 3

// SocketPair makes the two ends: one for Serve, one for Dial. Both are closed on exec.
func SocketPair() (keeper, child *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a pair of sockets: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "keeper's end"), os.NewFile(uintptr(fds[1]), "child's end"), nil
}

// Client is a Keeper that asks the one at the other end of a socket. Make one with Dial or FromParent.
type Client struct {
	conn  *net.UnixConn
	info  Info
	slots chan struct{}
	gone  chan struct{}

	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan received // nil once the keeper is gone
}

type received struct {
	answer answer
	file   *os.File
}

var _ Keeper = (*Client)(nil)

// FromParent takes the socket that Run gave this process, and lowers the process's limits: no core dumps, 65,536
// files, 1,024 threads and processes of this user. It is called once, first thing.
func FromParent(ctx context.Context) (*Client, error) {
	unix.CloseOnExec(ChildFD)
	if err := limitSelf(); err != nil {
		return nil, fmt.Errorf("lowering limits: %w", err)
	}
	return Dial(ctx, os.NewFile(ChildFD, "keeper"))
}

// Dial takes over conn, the child's end of a SocketPair, and asks the keeper who it is.
func Dial(ctx context.Context, conn *os.File) (*Client, error) {
	u, err := unixConn(conn)
	if err != nil {
		return nil, fmt.Errorf("reaching the keeper: %w", err)
	}
	c := &Client{conn: u, slots: make(chan struct{}, maxInFlight), gone: make(chan struct{}), waiting: map[uint64]chan received{}}
	go c.read()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := c.ask(ctx, callInfo, empty{}, &c.info); err != nil {
		c.Close()
		return nil, fmt.Errorf("reaching the keeper: %w", err)
	}
	return c, nil
}

// Gone is closed when the keeper is not there any more: a child then ends itself.
func (c *Client) Gone() <-chan struct{} { return c.gone }

// Close hangs up. Calls that wait, and later ones, fail with ErrGone.
func (c *Client) Close() error { return c.conn.Close() }

// read hands answers to those who wait for them.
func (c *Client) read() {
	buf := make([]byte, 4+maxFrame+1)
	var err error
	for {
		var b []byte
		var file *os.File
		if b, file, err = receive(c.conn, buf); err != nil {
			break
		}
		var a answer
		text, badFrame := unpackFrame(b)
		if badFrame == nil {
			badFrame = strict(text, &a)
		}
		c.mu.Lock()
		to := c.waiting[a.ID]
		if badFrame == nil && to != nil {
			delete(c.waiting, a.ID)
			to <- received{a, file} // there is room for one; under the lock, so that ask's forget finds it
		} else if file != nil {
			file.Close() // nobody waits for it any more
		}
		c.mu.Unlock()
	}
	c.conn.Close()
	c.mu.Lock()
	waiting := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	for _, to := range waiting {
		close(to)
	}
	close(c.gone)
}

// ask makes one call. out is a pointer; file is nil for calls that give none.
func (c *Client) ask(ctx context.Context, call string, in, out any) (*os.File, error) {
	raw, err := json.Marshal(in)
	if err != nil {
		return nil, because(ErrInvalid, err)
	}
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.gone:
		return nil, ErrGone
	}
	to := make(chan received, 1)
	c.mu.Lock()
	if c.waiting == nil {
		c.mu.Unlock()
		return nil, ErrGone
	}
	c.next++
	id := c.next
	c.waiting[id] = to
	c.mu.Unlock()
	forget := func() {
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
		select {
		case r := <-to:
			if r.file != nil {
				r.file.Close()
			}
		default:
		}
	}
	if err := send(c.conn, question{ID: id, Call: call, In: raw}, nil); err != nil {
		forget()
		if errors.Is(err, ErrInvalid) {
			return nil, err
		}
		return nil, because(ErrGone, err)
	}
	select {
	case <-ctx.Done():
		forget()
		return nil, ctx.Err()
	case r, ok := <-to:
		if !ok {
			return nil, ErrGone
		}
		if r.answer.Problem == nil {
			err = strict(r.answer.Out, out)
		} else {
			err = r.answer.Problem.problem()
		}
		if err != nil && r.file != nil {
			r.file.Close()
			r.file = nil
		}
		return r.file, err
	}
}

// PeerID implements Keeper.
func (c *Client) PeerID() services.PeerID { return c.info.PeerID }

// Info implements Keeper.
func (c *Client) Info(ctx context.Context) (Info, error) {
	var i Info
	_, err := c.ask(ctx, callInfo, empty{}, &i)
	return i, err
}

var errNoFile = errors.New("the keeper's answer came without a file")

// Listen implements Keeper.
func (c *Client) Listen(ctx context.Context, spec ListenSpec) (*os.File, error) {
	f, err := c.ask(ctx, callListen, spec, &empty{})
	if err == nil && f == nil {
		err = errNoFile
	}
	return f, err
}

// OpenTUN implements Keeper.
func (c *Client) OpenTUN(ctx context.Context, spec TUNSpec) (*TUN, error) {
	var out tunOut
	f, err := c.ask(ctx, callOpenTUN, spec, &out)
	if err == nil && f == nil {
		err = errNoFile
	}
	if err != nil {
		return nil, err
	}
	return &TUN{Name: out.Name, Index: out.Index, Kept: out.Kept, File: f}, nil
}

// ApplyFirewall implements Keeper.
func (c *Client) ApplyFirewall(ctx context.Context, s firewall.State) error {
	return c.tell(ctx, callApplyFirewall, s)
}

// tell makes a call that answers nothing.
func (c *Client) tell(ctx context.Context, call string, in any) error {
	_, err := c.ask(ctx, call, in, &empty{})
	return err
}

// SetHostname implements Keeper.
func (c *Client) SetHostname(ctx context.Context, name string) error {
	return c.tell(ctx, callSetHostname, nameIn{name})
}

func (c *Client) sign(ctx context.Context, call string, b []byte) ([]byte, error) {
	var out signature
	_, err := c.ask(ctx, call, message{b}, &out)
	return out.Signature, err
}

// SignRecord implements Keeper.
func (c *Client) SignRecord(ctx context.Context, message []byte) ([]byte, error) {
	return c.sign(ctx, callSignRecord, message)
}

// SignCheckpoint implements Keeper.
func (c *Client) SignCheckpoint(ctx context.Context, message []byte) ([]byte, error) {
	return c.sign(ctx, callSignCheckpoint, message)
}

// SignStatement implements Keeper.
func (c *Client) SignStatement(ctx context.Context, message []byte) ([]byte, error) {
	return c.sign(ctx, callSignStatement, message)
}

// SignHandshake implements Keeper.
func (c *Client) SignHandshake(ctx context.Context, message []byte) ([]byte, error) {
	return c.sign(ctx, callSignHandshake, message)
}

// NextDevice implements Keeper.
func (c *Client) NextDevice(ctx context.Context) (services.PeerID, error) {
	var out peer
	_, err := c.ask(ctx, callNextDevice, empty{}, &out)
	return out.ID, err
}

// AdoptDevice implements Keeper.
func (c *Client) AdoptDevice(ctx context.Context, id services.PeerID) error {
	return c.tell(ctx, callAdoptDevice, peer{id})
}

// ClientKey implements Keeper.
func (c *Client) ClientKey(ctx context.Context) (secret.Bytes, error) {
	var out keyOut
	_, err := c.ask(ctx, callClientKey, empty{}, &out)
	return secret.NewBytes(out.Key), err
}

// MakeRoot implements Keeper.
func (c *Client) MakeRoot(ctx context.Context) (ed25519.PublicKey, error) {
	var out keyOut
	_, err := c.ask(ctx, callMakeRoot, empty{}, &out)
	if err == nil && len(out.Key) != ed25519.PublicKeySize {
		err = fmt.Errorf("the keeper's root key has %d bytes", len(out.Key))
	}
	return out.Key, err
}

// RootWords implements Keeper.
func (c *Client) RootWords(ctx context.Context) ([]secret.Text, error) {
	var out wordsOut
	if _, err := c.ask(ctx, callRootWords, empty{}, &out); err != nil {
		return nil, err
	}
	words := make([]secret.Text, len(out.Words))
	for i, w := range out.Words {
		words[i] = secret.NewText(w)
	}
	return words, nil
}

// SignWithRoot implements Keeper.
func (c *Client) SignWithRoot(ctx context.Context, message []byte) ([]byte, error) {
	return c.sign(ctx, callSignWithRoot, message)
}

// EraseRoot implements Keeper.
func (c *Client) EraseRoot(ctx context.Context) error { return c.tell(ctx, callEraseRoot, empty{}) }

// NextRoots implements Keeper.
func (c *Client) NextRoots(ctx context.Context) ([]secret.Bytes, error) {
	var out entropies
	_, err := c.ask(ctx, callNextRoots, empty{}, &out)
	return out.secret(), err
}

// KeepNextRoots implements Keeper.
func (c *Client) KeepNextRoots(ctx context.Context, list []secret.Bytes) error {
	return c.tell(ctx, callKeepNextRoots, revealed(list))
}

// MakeCA implements Keeper.
func (c *Client) MakeCA(ctx context.Context, spec CASpec) error {
	return c.tell(ctx, callMakeCA, spec)
}

// CACertificates implements Keeper.
func (c *Client) CACertificates(ctx context.Context) (root, intermediate []byte, err error) {
	var out certsOut
	_, err = c.ask(ctx, callCACertificates, empty{}, &out)
	return out.Root, out.Intermediate, err
}

// SignCertificate implements Keeper.
func (c *Client) SignCertificate(ctx context.Context, digest []byte) ([]byte, error) {
	return c.sign(ctx, callSignCertificate, digest)
}

// ClaimSecret implements Keeper.
func (c *Client) ClaimSecret(ctx context.Context) (secret.Text, error) {
	var out textOut
	_, err := c.ask(ctx, callClaimSecret, empty{}, &out)
	return secret.NewText(out.Text), err
}

// ForgetClaimSecret implements Keeper.
func (c *Client) ForgetClaimSecret(ctx context.Context) error {
	return c.tell(ctx, callForgetClaim, empty{})
}

// Power implements Keeper.
func (c *Client) Power(ctx context.Context, how Power) error {
	return c.tell(ctx, callPower, powerIn{how})
}

// Machine implements Keeper.
func (c *Client) Machine(ctx context.Context) (Machine, error) {
	var m Machine
	_, err := c.ask(ctx, callMachine, empty{}, &m)
	return m, err
}
