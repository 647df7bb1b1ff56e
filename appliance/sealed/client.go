package sealed

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
)

// Client is the browser's end of the tunnel in Go, for tests and for the laboratory; webui/assets/seal.js is the same
// in the browser. It is not safe for concurrent use.
type Client struct {
	HTTP *http.Client
	Base string // "http://hearth.local"

	id         []byte
	n          uint64
	send, recv cipher.AEAD
}

// Refused is the error of a call that the box refused.
type Refused struct {
	Status int
	Code   string
	Wait   int // seconds, with code "busy"
}

func (r *Refused) Error() string { return fmt.Sprintf("the box refused: %s (%d)", r.Code, r.Status) }

// Hello opens a session with the key made from the claim secret. The secret is proven by the first Do.
func (c *Client) Hello(ctx context.Context, psk []byte) error {
	own, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	public := own.PublicKey().Bytes()
	var a helloAnswer
	if err := c.post(ctx, "/sealed/hello", helloMessage{V: 1, E: b64.EncodeToString(public)}, &a); err != nil {
		return err
	}
	id, err := b64.DecodeString(a.ID)
	if err != nil {
		return err
	}
	serverPublic, err := b64.DecodeString(a.E)
	if err != nil {
		return err
	}
	peer, err := ecdh.X25519().NewPublicKey(serverPublic)
	if err != nil {
		return err
	}
	shared, err := own.ECDH(peer)
	if err != nil {
		return err
	}
	c.id, c.n = id, 0
	c.send, c.recv, err = keys(psk, shared, public, serverPublic, id)
	return err
}

// Do asks for one page inside the tunnel.
func (c *Client) Do(ctx context.Context, r Request) (*Response, error) {
	plain, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	c.n++
	var a requestAnswer
	err = c.post(ctx, "/sealed/request", requestMessage{ID: b64.EncodeToString(c.id), N: c.n, Box: b64.EncodeToString(c.send.Seal(nil, nonce(c.n), plain, c.id))}, &a)
	if err != nil {
		return nil, err
	}
	box, err := b64.DecodeString(a.Box)
	if err != nil {
		return nil, err
	}
	if plain, err = c.recv.Open(nil, nonce(c.n), box, c.id); err != nil {
		return nil, fmt.Errorf("the answer is not from the box that has the claim secret: %w", err)
	}
	var out Response
	return &out, json.Unmarshal(plain, &out)
}

func (c *Client) post(ctx context.Context, path string, in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Base+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := c.HTTP.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	d := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, 4*MaxResponse))
	if resp.StatusCode != http.StatusOK {
		var why refusal
		if err := d.Decode(&why); err != nil {
			return fmt.Errorf("the box answered %d", resp.StatusCode)
		}
		return &Refused{Status: resp.StatusCode, Code: why.Code, Wait: why.Wait}
	}
	return d.Decode(out)
}
