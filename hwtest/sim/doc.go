// Package sim plays a household of two to five boxes through one schedule of whatever may go wrong, drawn from a seed:
// people change who belongs at any box, frames of the log exchange are on their way, connections and the network break,
// disks tear what was not synced, refuse and lose power at any operation, clocks jump, and one box may be an enemy's.
//
// The boxes are real: each is an identity.Service with its log on a Disk, its keys, its clock and its LogConns, all of
// them here. The enemy's box is not: it is written against the documented bytes alone (record, frame, log file), so
// these are read and written by a second, independent program. Nothing runs by itself, nothing waits, and nothing is
// random but what the schedule draws: equal draws play equal schedules, byte for byte.
//
//	seed ─▶ draws ─▶ world ─▶ step, step, step ... ─▶ heal: all boxes that know one another connect and settle
//	                            └ after each: what must always hold (check.go)
//
// # What holds
//
//   - Equal sets of records give equal memberships: at any two boxes, at any two times, before and after a restart.
//   - What a method or a Receive acknowledged is in the log after every crash, and in the end at every box of the
//     household. What it refused changed nothing.
//   - Where a removal stands beyond doubt, its subject does not belong, and nothing that its key or its person made
//     without the removal having seen it has an effect; nor what those brought in make.
//   - What people whom nobody removed did, through boxes that nobody removed, has its effect.
//   - Two records of one box with one sequence freeze the household and suspend that box, wherever both are known; an
//     honest box never makes two, whatever happens to its disk.
//   - No record with a wrong signature, of an author who was not introduced, or without its past is in any log; who
//     sends one, or what is no frame, loses that connection. Honest boxes never blame one another.
//   - An epoch of the root is final: what does not know of it, and what it names, has no effect. What one box says in its
//     place has none; where two say the same, only equal memberships are asked for, and an owner.
//   - A box that was removed hears so from any box that it takes for one of the household.
//
// Not played: what identity does by itself over time (Service.Run), friends, snapshots, and joining over a link; box.go and
// takeIn stand in for the links of appliance.
//
// # Trying it
//
// A failure prints its seed, the steps without which it does not happen, and the command that plays it again:
//
//	go test ./hwtest/sim -run TestSchedules -seed 4711
package sim
