// Package identity knows who belongs to the household: people, their devices, and its boxes. It keeps a log of
// signed records, which is the only place where that is written down, and folds it into a services.Membership that
// every other service follows (Watch).
//
//	Claim, AddPerson, ...        Keys (the keeper)
//	        │ checks                  ▲ signs
//	        ▼                         │
//	    one record ───────────────────┘
//	        │ appended, synced
//	        ▼
//	  identity/log ── fold ──► household ──► *services.Membership ──► Watch
//
// # The parts
//
//   - internal/record: the bytes of one signed record, described byte by byte;
//   - internal/logfile: the file they are kept in, and what a power cut can and cannot leave there;
//   - household.go: what a set of records means, as a function of the set and of nothing else;
//   - settle.go: which records of a set count where boxes acted apart from one another;
//   - epoch.go: what the 24 words settle; quorum.go: what several boxes settle without them;
//   - spin: a model of these rules, of which Spin visits every state, and which settle.go is compared with;
//   - internal/exchange: how boxes come to the same set of records;
//   - invite.go, join.go: how a box invites another one, and how that joins (internal/joinwire, internal/spake2);
//   - words.go: the 24 recovery words and the root key they stand for;
//   - newwords.go, nextroot.go: new words in the place of those that were lost from sight, and what each box keeps for
//     that;
//   - friends.go: the address book: other households, and what they are allowed;
//   - befriend.go, internal/befriend: how households become friends, and hear of one another; friendproof.go: how one
//     proves its boxes; friendbook.go: invitations, and when friends were heard of;
//   - leaving.go: what becomes of what removed people kept;
//   - service.go and its neighbours claim.go, people.go, devices.go, snapshot.go: the changes, one record each;
//   - share.go: boxes joining, leaving, and sharing the log; introduce.go: a box with a new key, or taken back;
//     flood.go, spent.go: one that writes without end;
//   - restored.go: a box that was brought back from a backup;
//   - show.go, tell.go: the log for people; backup.go: a fresh box by a backup and the words.
//
// # What it promises
//
//   - A method that changed something returns nil only when its record is on disk. A claim is there whole or not.
//   - A record is one atomic change: removing a person and all their devices is one record.
//   - A damaged log is named in Health and never set aside: who belongs is then what the records before the damage
//     say, less whom a good record behind it removes, and nothing can change (Membership.ReadOnly). Another box of the
//     household makes it whole again, as soon as there is a link, unless the damage is at its first record.
//   - A removed person or device never comes back: identifiers are used once.
//   - The last active owner cannot be removed or demoted. Where boxes that do not hear one another remove the last ones
//     between them, that is a dispute.
//   - Addresses: the first box has host 1 (10.x.y.1 and ::1 of the ULA /48), others the highest free one, a device a low
//     free one from 2 to 254, written in its record. 253 devices and other boxes at most, 500 people at most.
//   - Names have 1 to 64 characters in NFC and are unique, upper and lower case alike, among the people of the
//     household, among the devices of one person, and among the boxes. No person or device is given a name that looks
//     like another there (services/looks); older logs may hold some.
//
// # What it does not do
//
// It does not decide who may ask for a change: callers use MayChange and MayGrant and say with Acting on whose behalf
// they come. Health stays well while the recovery words wait to be confirmed; WordsPending is for the page that reminds
// of it.
//
// It does not protect the household from its own boxes. A record is signed by a box, and that it was made on somebody's
// behalf is that box's word: other boxes see that the person belongs, and not what role they have. So whoever has the key
// of one box can do what an owner can, also make an owner, remove everybody else but the last owner, and take in boxes,
// until it is removed on another box or the words settle it; only owners invite boxes, therefore. What such a box did
// before its removal was written stays, and so do the boxes that it took in: they stand in the list of boxes, to be
// removed one by one.
//
// A box whose log is damaged from its first byte has a Membership without a household that is ReadOnly: it is not
// unclaimed, and Claim refuses it.
package identity
