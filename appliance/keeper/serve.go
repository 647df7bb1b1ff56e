package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
)

// Serve answers a child's questions on conn by asking k, until the child is gone or ctx ends. It closes conn and has
// finished every answer when it returns. The child's end is nil; other reading errors are returned.
func Serve(ctx context.Context, conn *os.File, k Keeper, log *slog.Logger) error {
	c, err := unixConn(conn)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { c.Close() })
	var wg sync.WaitGroup
	defer func() {
		cancel()
		stop()
		c.Close()
		wg.Wait()
	}()
	slots := make(chan struct{}, maxInFlight)
	buf := make([]byte, 4+maxFrame+1)
	for {
		b, file, err := receive(c, buf)
		if file != nil {
			file.Close() // a child has nothing to give
		}
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		q, err := parseQuestion(b)
		if err != nil {
			log.Warn("a question that is none", "error", err)
			if err := send(c, answer{ID: q.ID, Problem: toWire(because(ErrInvalid, err))}, nil); err != nil {
				return nil
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		wg.Go(func() {
			defer func() { <-slots }()
			reply(ctx, c, k, q, log)
		})
	}
}

// reply answers one question.
func reply(ctx context.Context, c *net.UnixConn, k Keeper, q question, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, file, err := calls[q.Call](ctx, k, q.In)
	if file != nil {
		defer file.Close()
	}
	a := answer{ID: q.ID}
	if err == nil {
		a.Out, err = json.Marshal(out)
	}
	if err != nil {
		a.Out, a.Problem, file = nil, toWire(err), nil
		log.Info("a question was not granted", "call", q.Call, "error", err)
	}
	if err := send(c, a, file); err != nil && ctx.Err() == nil {
		log.Info("an answer did not arrive", "call", q.Call, "error", err)
	}
}

// unixConn takes over file, whose descriptor is a socket of SocketPair.
func unixConn(file *os.File) (*net.UnixConn, error) {
	defer file.Close()
	c, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("the keeper's socket is none of the kind it should be")
	}
	return u, nil
}
