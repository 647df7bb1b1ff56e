package appliance

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"hearth.alt/appliance/api"
	"hearth.alt/appliance/keeper"
	"hearth.alt/appliance/sealed"
	"hearth.alt/services"
	"hearth.alt/services/claimcode"
	"hearth.alt/services/clock"
	"hearth.alt/services/identity"
)

// claimGrace is how long after the claim the claim secret still opens the sealed pages on the home network, for
// whoever closed the browser before the first phone was paired. lastLook is how long it does after the last sealed
// request once all is done, so that the browser can show that it is. Until the secret is over the box keeps the name
// hearth.local, because the browser that claims it is there.
const (
	claimGrace = 24 * time.Hour
	lastLook   = time.Minute
)

// claimKeeper looks after what hangs on the claim: the secret, in memory until it is over; the household's
// certificate authority; the machine's name; the known time's vouch.
type claimKeeper struct {
	keeper   keeper.Keeper
	identity *identity.Service
	clock    *clock.Clock
	log      *slog.Logger
	guesses  guesses
	reload   func() // the certificate service looks again

	mu     sync.Mutex
	secret claimcode.Code
	tls    tls.Certificate
	sealed time.Time // of the last request inside the seal; zero is none since the start
	joined bool      // since the start the box joined a household, in which nobody is to be paired by it
	told   *services.Membership
	retold chan struct{} // closed when told is no longer the newest
	health services.Health
}

func newClaimKeeper(k keeper.Keeper, id *identity.Service, c *clock.Clock, log *slog.Logger) *claimKeeper {
	return &claimKeeper{keeper: k, identity: id, clock: c, log: log.With("service", "claim"), reload: func() {}, told: &services.Membership{}, retold: make(chan struct{}), health: services.Health{
		Name: "claim", Message: services.Say("claim.starting", "The box looks up whose it is."),
	}}
}

// load asks the keeper for the secret. There is none on a box that was claimed long ago.
func (c *claimKeeper) load(ctx context.Context) error {
	text, err := c.keeper.ClaimSecret(ctx)
	if errors.Is(err, keeper.ErrClaimed) {
		return nil
	}
	if err != nil {
		return err
	}
	code, err := claimcode.Parse(text.Reveal())
	if err != nil {
		return err
	}
	cert, err := code.Certificate()
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.secret, c.tls = code, cert
	return nil
}

// forget takes the secret out of memory.
func (c *claimKeeper) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.secret, c.tls = claimcode.Code{}, tls.Certificate{}
}

func (c *claimKeeper) code() (claimcode.Code, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.secret, !c.secret.IsZero()
}

// used is told of each request inside the seal.
func (c *claimKeeper) used() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sealed = time.Now()
}

// join is told that the box joined a household.
func (c *claimKeeper) join() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.joined = true
}

// Watch is the membership as the home network is told of it: a box whose claim goes on in a browser is not named yet.
func (c *claimKeeper) Watch() (*services.Membership, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told, c.retold
}

// tell makes what Watch answers so.
func (c *claimKeeper) tell(m *services.Membership) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.secret.IsZero() && m.Claimed() {
		m = &services.Membership{Revision: m.Revision, Self: m.Self}
	}
	if c.told.Revision == m.Revision && c.told.Claimed() == m.Claimed() {
		return
	}
	c.told = m
	close(c.retold)
	c.retold = make(chan struct{})
}

func (c *claimKeeper) certificate() (tls.Certificate, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tls, !c.secret.IsZero()
}

// psk keys the sealed pages.
func (c *claimKeeper) psk() ([]byte, error) {
	code, ok := c.code()
	if whose := api.OwnershipOf(c.identity.Membership()); !ok || whose == api.Lost || whose == api.Removed {
		return nil, sealed.ErrNoSecret
	}
	return code.PSK().Reveal(), nil
}

func (c *claimKeeper) Health() services.Health {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.health
}

func (c *claimKeeper) say(ok bool, s services.Sentence) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.health.Ready || c.health.OK != ok {
		c.health.Since = c.clock.Now()
	}
	c.health.Ready, c.health.OK, c.health.Message = true, ok, s
}

// Run makes so, again and again, what the claim asks for.
func (c *claimKeeper) Run(ctx context.Context) error {
	var claimedFor time.Duration // counted while running, so that no clock is needed
	last := time.Now()
	saved := time.Now()
	named := ""
	for {
		m, changed := c.identity.Watch()
		pause := 30 * time.Second
		if whose := api.OwnershipOf(m); whose == api.Lost {
			c.say(false, services.Say("claim.lost", "The box had an owner and cannot read who. It lets nobody in and does nothing else."))
		} else if whose == api.Removed {
			c.say(false, services.Say("claim.removed", "The box was removed from {household}. It lets nobody in and does nothing else. If nobody of the house removed it, its own page takes the 24 recovery words.", "household", m.Household.Name))
		} else if !m.Claimed() {
			c.say(true, services.Say("claim.waiting", "The box has no owner yet and does nothing else."))
		} else if err := c.settle(ctx, m, claimedFor, &named); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			c.log.Warn("what follows a claim is tried again", "error", err)
			c.say(false, services.Say("claim.unsettled", "The box belongs to {household}, but is not set up to the end. It tries again by itself.", "household", m.Household.Name))
			pause = 2 * time.Second
		} else {
			c.say(true, services.Say("claim.settled", "The box belongs to {household}.", "household", m.Household.Name))
		}
		c.tell(m)
		if _, held := c.code(); held {
			pause = min(pause, 5*time.Second)
		}
		if !c.clock.Known() {
			if machine, err := c.keeper.Machine(ctx); err == nil && machine.ClockSet {
				c.clock.Vouch()
			}
			pause = min(pause, 5*time.Second)
		}
		if time.Since(saved) > 10*time.Minute {
			if err := c.clock.Save(); err != nil {
				c.log.Warn("the known time could not be written down", "error", err)
			}
			saved = time.Now()
		}
		select {
		case <-changed:
		case <-time.After(pause):
		case <-ctx.Done():
			return c.clock.Save()
		}
		if m.Claimed() {
			claimedFor += time.Since(last)
		}
		last = time.Now()
	}
}

// settle makes the authority, names the machine, and ends the claim secret when it has done its work: the words are
// confirmed and somebody is paired, or a day has passed.
func (c *claimKeeper) settle(ctx context.Context, m *services.Membership, claimedFor time.Duration, named *string) error {
	box, ok := m.Box()
	if !ok {
		return errors.New("this box is not in its own household")
	}
	if _, _, err := c.keeper.CACertificates(ctx); errors.Is(err, keeper.ErrNoCA) {
		if err := c.keeper.MakeCA(ctx, authority(m, c.clock.Now())); err != nil {
			return err
		}
		c.reload()
	} else if err != nil {
		return err
	}
	if *named != box.Label {
		if err := c.keeper.SetHostname(ctx, box.Label); err != nil && !errors.Is(err, keeper.ErrNotDevice) {
			return err
		}
		*named = box.Label
	}
	if _, held := c.code(); held && c.done(m, claimedFor) {
		if err := c.keeper.ForgetClaimSecret(ctx); err != nil {
			return err
		}
		c.forget()
	}
	return nil
}

// done says whether the claim secret has done its work: the words are confirmed, and where a browser is at it inside
// the seal, somebody is paired or nobody is to be, and it had time to show so; or a day has passed.
func (c *claimKeeper) done(m *services.Membership, claimedFor time.Duration) bool {
	if claimedFor > claimGrace {
		return true
	}
	if c.identity.WordsPending() {
		return false
	}
	c.mu.Lock()
	last, joined := c.sealed, c.joined
	c.mu.Unlock()
	if last.IsZero() {
		return true
	}
	paired := slices.ContainsFunc(m.Devices, func(d services.Device) bool { return d.State == services.StateActive })
	return (paired || joined) && time.Since(last) > lastLook
}
