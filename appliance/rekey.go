package appliance

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"hearth.alt/appliance/keeper"
	"hearth.alt/services"
)

// adoptDevice makes the box's next device key, whose public half is id, the one it has, and starts the box again with
// it: requests that are being answered have a moment to end, then be returns keeper.ErrAdopted. Repeating it is harmless.
func (a *appliance) adoptDevice(ctx context.Context, id services.PeerID) error {
	if a.info.PeerID == id {
		return nil
	}
	if err := a.keeper.AdoptDevice(ctx, id); err != nil {
		return err
	}
	a.restart(keeper.ErrAdopted)
	return nil
}

// finishRekey adopts the next device key when the household's log already says that it is this box's: a power cut came
// between the two. It returns keeper.ErrAdopted then.
func (a *appliance) finishRekey(ctx context.Context) error {
	m := a.identity.Membership()
	if !slices.Contains(m.Removed, m.Self) {
		return nil
	}
	next, err := a.keeper.NextDevice(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(m.Boxes, func(b services.Box) bool { return b.ID == next }) {
		return nil
	}
	if err := a.keeper.AdoptDevice(ctx, next); err != nil {
		return err
	}
	return keeper.ErrAdopted
}

// rekey is how the house gives this box another key.
type rekey struct{ a *appliance }

func (r rekey) Next(ctx context.Context) (services.PeerID, error) { return r.a.keeper.NextDevice(ctx) }

// adoptAfter lets whoever asked for another key read the answer.
const adoptAfter = 500 * time.Millisecond

func (r rekey) Adopt(id services.PeerID) {
	time.AfterFunc(adoptAfter, func() {
		if err := r.a.adoptDevice(context.Background(), id); err != nil {
			r.a.log.Error("the next device key could not be adopted; the next start tries again", "error", err)
		}
	})
}

// lives runs life with a keeper in this process, and again with one that has read the keys anew for as long as it ends
// because the device key is another.
func lives(ctx context.Context, o Options, log *slog.Logger, life func(k *keeper.Local) error) error {
	for {
		k, err := keeper.NewLocal(keeperConfig(o, log))
		if err != nil {
			return err
		}
		err = life(k)
		k.Close()
		switch {
		case !errors.Is(err, keeper.ErrAdopted):
			return err
		case ctx.Err() != nil:
			return nil
		}
		log.Info("the device key is another, and everything starts again")
	}
}
