// Package witness has friends' boxes vouch for each other's household logs. A box keeps the newest checkpoint that each
// box of a friend showed it, and asks every time for a proof that the next one goes on from there: a box that was brought
// back from an old copy, or whose card was copied and that tells one friend this and another that, cannot.
//
//	here                                       a friend's box
//	  HELLO: the checkpoint of yours I have ──▶  CHECKPOINT of its log now, and the proof
//	  REPORT: it goes on from there, or the one I had, which you signed and now deny
//
// # The parts
//
//   - checkpoint.go: a log as a Merkle tree (RFC 6962, by golang.org/x/mod/sumdb/tlog, the checksum database's): its
//     leaves are the IDs of the records in the order in which this box wrote them down;
//   - wire.go: the frames, described byte by byte;
//   - store.go: what was seen, in one small file;
//   - service.go: both ends of the protocol, and what is found.
//
// # What it promises
//
//   - A friend learns the number of records, a hash of all of them, and when it changed: nothing that any record says.
//   - What is found is kept until somebody dismisses it, with both checkpoints: signed by one key, and contradicting.
//   - Bounded: one checkpoint and one finding for each box of a friend.
//
// # What it does not do
//
// The first checkpoint of a box is believed. A log that was made whole again, or brought back from a backup, has another
// order and is found, too: people can tell that from theft, programs cannot.
package witness
