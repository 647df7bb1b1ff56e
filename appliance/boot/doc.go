// Package boot is what process 1 does on the device between the kernel and the services: appliance/cmd/init is its
// main.
//
//	before gokrazy.Boot   find the disk · repair and grow the partition table · check /perm (e2fsck)
//	gokrazy.Boot          mounts, watchdog, loopback, host name
//	after it              is /perm really there? · grow its file system · clock's floor · host name · sysctls ·
//	                      claim code · screen
//	for ever              supervise dhcp, ntp, randomd and hearth; or, when /perm is damaged, the recovery page
//
// Promises: it never formats, never ends (that would be a kernel panic and a reboot loop), and is never silent: what
// went wrong is on the serial console, on the screen, and on plain http port 80. Growing survives a pulled plug at
// each step, because each step is recognised and finished at the next boot.
//
// Other processes see it through two files in /run/hearth: claim (the claim code while nobody owns the box)
// and boot.json (ReadReport). The keeper calls EraseClaim once the box has an owner.
package boot

// Version is the version of the image; the image's build sets it.
var Version = "unknown"

// Paths on the device.
const (
	PermDir   = "/perm"
	StateDir  = "/perm/hearth"
	RunDir    = "/run/hearth"
	ClaimPath = "/run/hearth/claim"     // 0600 root: the text of claimcode.Code.Text, no line end
	report    = "/run/hearth/boot.json" // 0644
	// HostnameFile holds the box's name once it has one: a DNS label. the keeper writes it; process 1 reads it at boot.
	HostnameFile = "/perm/hearth/hostname"
	claimedMark  = "/perm/hearth/claimed" // empty file: the box has an owner

	checker = "/usr/lib/hearth/e2fsck"
)
