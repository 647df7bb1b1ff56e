/*
 * Who belongs: add, remove and epoch, in Promela for Spin 6 (Debian's spin). README.md says what is modelled, what is
 * assumed and what is asserted; ../spin_test.go runs it and replays its traces. The rules are those of ../settle.go.
 *
 * -D on the command line: N records at most, ROOTS of them by the root, ROGUE of them with the stolen key of box C.
 * A rule is broken on purpose with one of NAIVE (whoever comes first is right), UNATTACKED (removals attack nothing),
 * ALONE (puppets of their subjects neither), BRISK (nothing is ever open), DEAF (epochs leave nothing out), UNFOUNDED
 * (a removal need not know whom or who it is for), BARE (removals may leave no owner). ONLY_LEFT asserts only what the
 * inline of that name says.
 */
#ifndef N
#define N 4
#endif
#ifndef ROOTS
#define ROOTS 1
#endif
#ifndef ROGUE
#define ROGUE 0
#endif

#define BIT(i)		(1 << (i))
#define HAS(set, i)	(((set) >> (i)) & 1)
#define WHEN(c, bits)	((c) -> (bits) : 0)

/* Who can be removed: the senior owner, the junior owner, the member whom one of them adds, box C. */
#define S	0
#define J	1
#define M	2
#define C	3
#define NOBODY	4	/* a record made for nobody: the box's own, or the root's */

/* What a record does. */
#define ADD		0	/* M */
#define REMOVE(e)	(1 + (e))
#define EPOCH		5
#define REMOVAL(k)	(op[k] != ADD && op[k] != EPOCH)
#define SUBJECT(k)	(op[k] - 1)

#define ROOT	3	/* as the box of a record: the root's own */
#define NONE	15

/* The records, in the order of their IDs, which is one that has parents first. */
byte n = 0;
byte op[N];
byte by[N];
byte box[N];
byte seq[N];
byte past[N];	/* a set of records, with the past of each */
byte names[N];	/* of an epoch: the records of its past that it voids */
byte root = 0;	/* records of the root */
byte rogue = 0;
byte busy = 0;	/* A, B and C are alike: they act for the first time in this order */

#define MADE(k, e)	(by[k] == (e) || (e) == C && box[k] == C - 1)

/* What each of the boxes A, B and C knows, and who belongs there. */
byte known[3];
short state[3];
#define IN(st, e)	HAS(st, e)
#define ACTIVE(st, e)	(HAS(st, e) && !HAS(st, 4 + (e)))	/* not suspended */
#define FROZEN(st)	HAS(st, 8)
#define USED(st)	HAS(st, 9)	/* M was added once */
#define OWNERS		(BIT(S) | BIT(J))
#define BEGIN		(OWNERS | BIT(C))

#ifdef UNFOUNDED
#define LEANS		adds != 0
#else
#define LEANS		true
#endif

/* What settle works with; it begins anew each time, so none of it is part of a state. */
hidden byte from, what, k, l, x, e, g, all, winner, inside, proof, forked, ended, doubt, candidates, places, effect, adds, standing, fallen, opened, stood, last, hits, more;
hidden byte number[N];
hidden byte before[N];
hidden byte attacks[N];	/* of each removal: what falls if it stands */
hidden byte party[N];	/* of each removal: that, and what those did whom its subject took in unseen */
hidden byte again, retry, fine, good, own, epoch, vain, skipped;
hidden short who, was, result, other;

/* descend leaves in more what of all is in the past of the record i, itself, or made in knowledge of it. */
inline descend(i) {
	more = past[i] | BIT(i);
	for (k : 0 .. n - 1) { more = more | WHEN(HAS(past[k], i), BIT(k)) }
	more = more & all
}

/* settled finds the epoch that settles, and inside: what it and those that it builds on let count. */
inline settled() {
	winner = NONE; inside = 0;
	for (k : 0 .. n - 1) {
		inside = inside | WHEN(HAS(all, k) && op[k] != EPOCH, BIT(k));
		if
		:: HAS(all, k) && op[k] == EPOCH ->
			number[k] = 1; before[k] = NONE;
			for (l : 0 .. k - 1) {
				if
				:: HAS(past[k], l) && op[l] == EPOCH && number[l] >= number[k] -> number[k] = number[l] + 1; before[k] = l
				:: else
				fi
			}
			winner = (winner == NONE -> k : (number[k] > number[winner] -> k : winner))
		:: else
		fi
	}
	x = winner;
	do
	:: x != NONE -> inside = inside | BIT(x); x = before[x]
	:: else -> break
	od;
#ifdef DEAF
	inside = all;
#else
	x = winner;
	do
	:: x != NONE -> descend(x); inside = inside & more & ~names[x]; x = before[x]
	:: else -> break
	od
#endif
}

/* fork finds the sequence from which the records of C are in doubt, NONE when its key is used in one place; and ended:
   the root has removed C in knowledge of that. Only what is in proof proves it. */
inline fork() {
	forked = NONE; ended = false;
	for (k : 0 .. n - 1) {
		for (l : k + 1 .. n - 1) {
			if
			:: HAS(proof, k) && HAS(proof, l) && box[k] == C - 1 && box[l] == C - 1 && seq[k] == seq[l] ->
				forked = (seq[k] < forked -> seq[k] : forked);
				for (x : 0 .. n - 1) { ended = ended || HAS(inside, x) && box[x] == ROOT && op[x] == REMOVE(C) && HAS(past[x], k) && HAS(past[x], l) }
			:: else
			fi
		}
	}
}
#define DOUBTFUL(k)	(forked != NONE && box[k] == C - 1 && seq[k] >= forked)
#define FORKED		(forked != NONE && !ended)

/* added leaves in adds the additions of M in the past of i, as far as they count. */
inline added(i) {
	adds = 0;
	for (l : 0 .. i - 1) { adds = adds | WHEN(HAS(past[i] & inside, l) && op[l] == ADD, BIT(l)) }
}

/* attack finds what the removal x attacks. */
inline attack() {
	attacks[x] = 0; party[x] = 0;
	for (k : 0 .. n - 1) {
		added(k);
		fine = k != x && HAS(inside, k) && !HAS(past[x], k);
		party[x] = party[x] | WHEN(fine && (MADE(k, SUBJECT(x)) || op[k] == ADD && SUBJECT(x) == M || by[k] == M && adds != 0 && (adds & ~party[x]) == 0), BIT(k));
		attacks[x] = attacks[x] | WHEN(fine && (MADE(k, SUBJECT(x)) || op[k] == ADD && SUBJECT(x) == M), BIT(k))
	}
#ifdef UNATTACKED
	attacks[x] = 0;
#endif
}

/* removals finds in candidates those that may attack, in places these and the additions: what others depend on. */
inline removals() {
	candidates = 0; places = 0;
	for (x : 0 .. n - 1) {
		last = 0;
		for (l : 0 .. x - 1) { last = (HAS(past[x], l) && box[l] == box[x] && seq[l] > last -> seq[l] : last) }
		added(x);
		fine = HAS(inside, x) && op[x] != EPOCH && seq[x] == last + 1 && !(ended && DOUBTFUL(x));
#ifndef UNFOUNDED
		fine = fine && (adds != 0 || by[x] != M && (op[x] == ADD || SUBJECT(x) != M));
#endif
		if
		:: fine ->
			places = places | BIT(x);
			if
			:: REMOVAL(x) -> candidates = candidates | BIT(x); attack()
			:: else
			fi
		:: else
		fi
	}
}

/* against leaves in hits the removals of e that do not fall, and are in the set. */
inline against(e, set) {
	hits = 0;
	for (k : 0 .. n - 1) { hits = hits | WHEN(HAS(candidates & ~fallen & (set), k) && op[k] == REMOVE(e), BIT(k)) }
}

/* label is the grounded labelling: records stand, fall, or neither. */
inline label() {
	standing = 0; fallen = BIT(n) - 1 & ~places; again = true;
	do
	:: again ->
		again = false;
		for (x : 0 .. n - 1) {
			if
			:: !HAS(standing | fallen, x) ->
				good = !DOUBTFUL(x) && !HAS(doubt, x); fine = true;	/* good while x may stand, fine while it does not fall */
				/* another owner has to be left, of all that x knows */
				if
				:: REMOVAL(x) && SUBJECT(x) <= J -> against(1 - SUBJECT(x), past[x])
				:: else -> hits = 0
				fi;
				for (k : 0 .. n - 1) { hits = hits | WHEN(HAS(candidates & ~fallen, k) && HAS(attacks[k], x), BIT(k)) }
				good = good && hits == 0; fine = fine && !(hits & standing);
				/* what M did leans on who added M */
#ifndef ALONE
				added(x);
				if
				:: by[x] == M && LEANS -> good = good && adds & standing; fine = fine && adds & ~fallen
				:: else
				fi;
#endif
				if
				:: !fine -> fallen = fallen | BIT(x); again = true
				:: fine && good -> standing = standing | BIT(x); again = true
				:: else
				fi
			:: else
			fi
		}
	:: else -> break
	od;
#ifdef BRISK
	standing = places & ~fallen & ~doubt;
#endif
	opened = candidates & ~standing & ~fallen
}

/* remove gives the removal k its effect, whoever made it. */
inline remove() {
	effect = effect | WHEN(IN(who, SUBJECT(k)), BIT(k));
	who = who & ~BIT(SUBJECT(k))
}

/* judge gives the record k its effect on who. */
inline judge() {
	last = 0;
	for (l : 0 .. k - 1) { last = (HAS(past[k], l) && box[l] == box[k] && seq[l] > last -> seq[l] : last) }
	good = seq[k] == last + 1 && (box[k] != C - 1 || IN(who, C)) && (by[k] == NOBODY || IN(who, by[k]));
	if
	:: good && op[k] == EPOCH -> effect = effect | BIT(k)
	:: good && op[k] == ADD && !USED(who) -> who = who | BIT(M) | BIT(9); effect = effect | BIT(k)
	:: good && REMOVAL(k) && IN(who, SUBJECT(k)) && (who & OWNERS) != BIT(SUBJECT(k)) -> remove()
	:: else
	fi
}

/* settle leaves in result what the records in set say. */
inline settle(set) {
	all = set;
	settled();
	doubt = 0; more = 1;
	do
	:: more ->
		proof = inside; retry = true;
		do
		:: retry ->
			fork();
			removals();
			label();
			retry = false;
			for (x : 0 .. n - 1) {	/* what a removed box signed unseen proves nothing */
				for (k : 0 .. n - 1) {
					if
					:: forked != NONE && HAS(standing, x) && op[x] == REMOVE(C) && HAS(attacks[x] & proof, k) && box[k] == C - 1 ->
						proof = proof & ~BIT(k); retry = true
					:: else
					fi
				}
			}
		:: else -> break
		od;
		who = BEGIN; effect = 0;
		for (k : 0 .. n - 1) {
			if
			:: HAS(standing, k) && REMOVAL(k) -> remove()
			:: HAS(standing, k) && op[k] == ADD || HAS(inside, k) && op[k] == EPOCH -> judge()
			:: else
			fi
		}
		more = 0;
#ifndef BARE
		if
		:: !(who & OWNERS) ->	/* the last removals of owners are in doubt, or all */
			for (x : 0 .. n - 1) { more = more | WHEN(HAS(standing, x) && REMOVAL(x) && SUBJECT(x) <= J, BIT(x)) }
			hits = more;
			for (x : 0 .. n - 1) { more = more & ~WHEN(HAS(hits, x) && !doubt, past[x]) }
		:: else
		fi;
#endif
		doubt = doubt | more
	:: else -> break
	od;
	result = who | WHEN(opened || FORKED, BIT(8)) | WHEN(FORKED && IN(who, C), BIT(4 + C));
	for (x : 0 .. n - 1) { result = result | WHEN(HAS(opened, x) && IN(who, SUBJECT(x)), BIT(4 + SUBJECT(x))) }
}

/* converge: boxes with equal sets have equal states. */
inline converge(r) {
	for (e : 0 .. 2) { assert(known[e] != known[r] || state[e] == state[r]) }
}

/* left: M does not belong where all who added M are out or suspended, by removals none of which had seen it. */
inline left(r) {
	fine = !IN(state[r], M);
	for (k : 0 .. n - 1) {
		hits = 0;
		for (x : 0 .. n - 1) {
			hits = hits | WHEN(HAS(known[r], x) && REMOVAL(x) && MADE(k, SUBJECT(x)), BIT(0) | WHEN(HAS(past[x], k), BIT(1)))
		}
		fine = fine || HAS(known[r], k) && op[k] == ADD && (hits != 1 || (by[k] == NOBODY || ACTIVE(state[r], by[k])) && (box[k] != C - 1 || ACTIVE(state[r], C)))
	}
	assert(fine)
}

/* lawful is about what settle found last. */
inline lawful() {
	/* an owner is left */
	assert(result & OWNERS);
	for (k : 0 .. n - 1) {
		/* who is out or suspended did nothing that counts but what a removal had seen, or leave; a fork has its own rule */
		for (e : S .. C) {
			hits = 0;
			for (x : 0 .. n - 1) {
				hits = hits | WHEN(HAS(inside, x) && REMOVAL(x) && SUBJECT(x) == e, BIT(0) | WHEN(HAS(past[x], k), BIT(1)))
			}
			assert(!(HAS(effect, k) && MADE(k, e) && !ACTIVE(result, e)) || hits == 3 || REMOVAL(k) && SUBJECT(k) == e || e == C && forked != NONE && !DOUBTFUL(k))
		}
		vain = false;
		for (x : 0 .. n - 1) { vain = vain || HAS(past[k] & standing, x) && op[x] == REMOVE(1 - SUBJECT(k)) && SUBJECT(k) <= J }
		if
		:: HAS(candidates, k) && ACTIVE(result, SUBJECT(k)) && !vain ->
			/* a removal has its effect unless its maker knew that it takes the last owner, or is out or suspended (or M,
			   whom the thief added once more) ... */
			assert(ROGUE > 0 && by[k] == M || by[k] != NOBODY && !ACTIVE(result, by[k]) || box[k] == C - 1 && !ACTIVE(result, C));
			/* ... by somebody else than the subject and those whom the subject took in unseen */
			hits = 0;
			for (x : 0 .. n - 1) {
				hits = hits | WHEN(HAS(inside, x) && REMOVAL(x) && MADE(k, SUBJECT(x)), BIT(x))
			}
			assert((hits & ~party[k]) || by[k] == M || forked != NONE)
		:: else
		fi
	}
}

/* say prints where box r is, in a line that needs no other: all records as op.by.box.seq.past.names. */
inline say(r) {
	printf("box %d knows %d is %d of", r, known[r], state[r]);
	for (k : 0 .. n - 1) { printf(" %d.%d.%d.%d.%d.%d", op[k], by[k], box[k], seq[k], past[k], names[k]) }
	printf("\n")
}

/* make seals the next record. */
inline make(o, b, r, q, p) {
	op[n] = o; by[n] = b; box[n] = r; past[n] = p;
	last = 0;
	for (l : 0 .. n - 1) { last = (HAS(p, l) && box[l] == r && seq[l] > last -> seq[l] : last) }
	seq[n] = last + q;
	n++
}

/* come has the record i take effect at box r, on top of what it has. */
inline come(r, i) {
	known[r] = known[r] | BIT(i);
	who = state[r]; k = i;
	judge();
	state[r] = who
}

/* may leaves in fine whether an honest box does that for b: identifiers are drawn at random, so that M is added once,
   and nobody says anything twice. */
inline may(o, b, r) {
	fine = r <= busy && !FROZEN(state[r]) && ACTIVE(state[r], b) && (r != C - 1 || ACTIVE(state[r], C));
	fine = fine && (o == ADD || IN(state[r], o - 1) && o - 1 != b && (state[r] & OWNERS) != BIT(o - 1));
	for (k : 0 .. n - 1) { fine = fine && (op[k] != o || o != ADD && by[k] != b) }
}

/* closed leaves in fine whether p is a set of what is in whole, with the past of each. */
inline closed(p, whole) {
	fine = (p & ~(whole)) == 0;
	for (k : 0 .. n - 1) { fine = fine && (!HAS(p, k) || (past[k] & ~p) == 0) }
}

#if ROGUE > 0
#define BOXES	2	/* that hear and act */
#else
#define BOXES	3
#endif

/* Choices: any box that hears, any set of records. Spin's select would make a random walk favour the first. */
inline anyBox() {
	if
	:: r = 0
	:: r = 1
#if BOXES > 2
	:: r = 2
#endif
	fi
}
inline anySet() {
	do
	:: i < N - 1 ->
		if
		:: p = p | BIT(i)
		:: skip
		fi;
		i++
	:: else -> break
	od;
	skip	/* a loop cannot end in the middle of what follows */
}

active proctype world() {
	byte r = 0, o = 0, b = 0, q = 0, p = 0, i = 0;

	state[0] = BEGIN; state[1] = BEGIN; state[2] = BEGIN;
	do
	:: atomic {
		if
		:: n < N ->	/* somebody acts at a box */
			anyBox();
			if
			:: o = ADD
			:: o = REMOVE(S)
			:: o = REMOVE(J)
			:: o = REMOVE(M)
#if ROGUE > 0
			:: o = REMOVE(C)
#endif
			fi;
			if
			:: b = S
			:: b = J
			:: b = M
			fi;
			d_step {
				may(o, b, r);
				own = fine; epoch = false;
				if
				:: fine -> make(o, b, r, 1, known[r]); come(r, n - 1)
				:: else
				fi
			}
		:: n < N && root < ROOTS ->	/* the root, at a box, accepts some of what it knows, or all but who is open */
			anyBox();
			anySet();
			if
			:: q = 0
			:: q = 1
			fi;
			d_step {
				closed(p, known[r]);
				fine = fine && r <= busy;
				for (k : 0 .. n - 1) { fine = fine && (op[k] != EPOCH || !HAS(known[r], k) || HAS(p, k)) }
				own = false; epoch = fine;
				if
				:: fine -> make(EPOCH, NOBODY, ROOT, 1, p); root++; known[r] = known[r] | BIT(n - 1)
				:: else
				fi
			}
#if ROGUE > 0
		:: n < N && root < ROOTS ->	/* the root, at a box, removes C */
			anyBox();
			d_step {
				fine = r <= busy && IN(state[r], C);
				own = false; epoch = false;
				if
				:: fine -> make(REMOVE(C), NOBODY, ROOT, 1, known[r]); root++; known[r] = known[r] | BIT(n - 1)
				:: else
				fi
			}
		:: n < N && rogue < ROGUE ->	/* the thief signs with the key of box C, whatever and whenever */
			if
			:: o = ADD
			:: o = REMOVE(S)
			:: o = REMOVE(J)
			:: o = REMOVE(M)
			fi;
			if
			:: b = S
			:: b = J
			:: b = M
			:: b = NOBODY
			fi;
			if
			:: q = 1
			:: q = 2
			fi;
			anySet();
			d_step {
				closed(p, BIT(n) - 1);
				if
				:: fine -> make(o, b, C - 1, q, p); rogue++
				:: else
				fi;
				fine = false	/* nobody knows of it yet */
			}
#endif
		:: n > 0 ->	/* a record arrives, its past before it */
			anyBox();
			do
			:: p < n - 1 -> p++
			:: true -> break
			od;
			skip;	/* as above */
			d_step {
				own = false; epoch = false;
				fine = !HAS(known[r], p) && (past[p] & ~known[r]) == 0;
				if
				:: fine ->
#ifdef NAIVE
					come(r, p)
#else
					known[r] = known[r] | BIT(p)
#endif
				:: else
				fi
			}
		fi;
		skip;	/* as above */
		d_step {
			if
			:: fine && (own || box[n - 1] == ROOT && HAS(known[r], n - 1)) -> busy = (r == busy -> r + 1 : busy)
			:: else
			fi;
#ifdef NAIVE
			if
			:: fine ->
				say(r);
#ifdef ONLY_LEFT
				left(r)
#else
				converge(r)
#endif
			:: else
			fi;
#else
			/* first, what the epoch that was made just now voids; then, what the box knows; then that without what is
			   outside of its epoch, which changes nothing; then that without what the subject of each removal that
			   stands did unseen by it, which changes nothing either */
			from = (fine -> (epoch && q -> 0 : 1) : 3 + N); stood = 0;
			for (g : from .. 2 + n) {
				what = (g == 0 -> p : (g == 1 -> known[r] : more));
				if
				:: g > 2 ->
					what = known[r];
					x = g - 3;
					for (k : 0 .. n - 1) {
						what = what & ~WHEN(HAS(stood, x) && k != x && !HAS(past[x], k) && (MADE(k, SUBJECT(x)) || op[k] == ADD && SUBJECT(x) == M), BIT(k))
					}
					closed(what, known[r]);
					skipped = !fine || what == known[r]	/* nothing to do */
				:: else -> skipped = false
				fi;
				if
				:: !skipped -> settle(what)
				:: else
				fi;
				if
				:: g == 0 -> names[n - 1] = opened
				:: g == 1 ->
					assert(!own || state[r] == result);	/* who acts comes to the same by itself */
					state[r] = result; other = result;
					say(r);
					converge(r);
					left(r);
					lawful();
					stood = standing & candidates;
					more = all;
					if
					:: winner != NONE -> x = winner; descend(x)
					:: else
					fi
				:: g == 2 || g > 2 && !skipped -> assert(result == other)
				:: else
				fi
			}
#endif
			r = 0; o = 0; b = 0; q = 0; p = 0; i = 0
		}
		}
	:: known[0] == BIT(n) - 1 && known[1] == BIT(n) - 1 && (BOXES == 2 || known[2] == BIT(n) - 1) && (n == N || FROZEN(state[0]) && root == ROOTS) -> break
	od
}
