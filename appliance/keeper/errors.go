package keeper

import "hearth.alt/services"

// The errors that callers may match with errors.Is, on either side of the socket.
var (
	ErrNotAllowed = &services.Problem{
		Kind: services.KindDenied, Code: "keeper-not-allowed",
		Say: services.Say("keeper.not-allowed", "The box's keeper does not do that for anyone."),
	}
	ErrInvalid = &services.Problem{
		Kind: services.KindInvalid, Code: "keeper-invalid",
		Say: services.Say("keeper.invalid", "The box's keeper did not understand the request. Nothing was changed."),
	}
	ErrNotDevice = &services.Problem{
		Kind: services.KindUnavailable, Code: "keeper-not-device",
		Say: services.Say("keeper.not-device", "This Hearth runs on a computer that is somebody's own, so it leaves the computer's name and power alone."),
	}
	ErrNoRight = &services.Problem{
		Kind: services.KindDenied, Code: "keeper-no-right",
		Say: services.Say("keeper.no-right", "That port needs administrator rights on this computer, and Hearth was started without them."),
	}
	ErrTaken = &services.Problem{
		Kind: services.KindConflict, Code: "keeper-port-taken",
		Say: services.Say("keeper.port-taken", "Another program on this computer uses that port already. Stop it, or start Hearth with another port."),
	}
	ErrNoAddress = &services.Problem{
		Kind: services.KindUnavailable, Code: "keeper-no-address",
		Say: services.Say("keeper.no-address", "The box does not have that address now."),
	}
	ErrNoTUN = &services.Problem{
		Kind: services.KindUnavailable, Code: "keeper-no-tunnel",
		Say: services.Say("keeper.no-tunnel", "The private network needs administrator rights, and Hearth was started without them. Everything else works."),
	}
	// ErrNoRoot has the code that identity asks of its Keys.
	ErrNoRoot = &services.Problem{
		Kind: services.KindConflict, Code: "words-confirmed",
		Say: services.Say("keeper.no-root", "The recovery words are no longer on the box. They exist only where somebody wrote them down."),
	}
	ErrNoCA = &services.Problem{
		Kind: services.KindUnavailable, Code: "keeper-no-ca",
		Say: services.Say("keeper.no-ca", "The box has no certificates yet. It makes them when it gets its owner."),
	}
	ErrHaveCA = &services.Problem{
		Kind: services.KindConflict, Code: "keeper-have-ca",
		Say: services.Say("keeper.have-ca", "The box has its certificates already, and devices trust them. They are not replaced."),
	}
	ErrClaimed = &services.Problem{
		Kind: services.KindConflict, Code: "keeper-claimed",
		Say: services.Say("keeper.claimed", "The box has an owner, so its claim code is gone."),
	}
	ErrDamagedKey = &services.Problem{
		Kind: services.KindUnavailable, Code: "keeper-key-damaged",
		Say: services.Say("keeper.key-damaged", "A key of the box is damaged, and it is not replaced by a new one. Keep the card as it is; bringing a household back from the recovery words comes with a later version."),
	}
	ErrNoNextDevice = &services.Problem{
		Kind: services.KindConflict, Code: "keeper-no-next-device",
		Say: services.Say("keeper.no-next-device", "The new key of the box is not the one that was prepared. Nothing was changed; start over."),
	}
	ErrGone = &services.Problem{
		Kind: services.KindUnavailable, Code: "keeper-gone",
		Say: services.Say("keeper.gone", "A part of the box is starting again. Try once more in a minute."),
	}
)
