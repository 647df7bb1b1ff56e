package appliance

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// keptConn is a connection that was used with a credential and stays open.
type keptConn struct {
	net.Conn
	r       *bufio.Reader
	address string
	head    string
}

// keep opens a connection, asks for path with a line of the head, wants 200 and leaves the connection open.
func keep(t *testing.T, address, path, host, line string) *keptConn {
	t.Helper()
	k := &keptConn{address: address, head: fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n", path, host, line)}
	if got := k.status(t); got != http.StatusOK {
		t.Fatalf("%s with %.30q…: status %d, want 200", path, line, got)
	}
	return k
}

// status asks on a new connection, which becomes the one kept.
func (k *keptConn) status(t *testing.T) int {
	t.Helper()
	c, err := net.Dial("tcp", k.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	k.Conn, k.r = c, bufio.NewReader(c)
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, k.head); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(k.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

// waitClosed waits until the other end closes.
func (k *keptConn) waitClosed(within time.Duration) error {
	k.SetReadDeadline(time.Now().Add(within))
	_, err := k.r.ReadByte()
	var timeout net.Error
	switch {
	case err == nil:
		return errors.New("the box says something more")
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("it is open after %v", within)
	}
	return nil
}

func basic(name, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(name + ":" + password))
}
