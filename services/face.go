package services

import "fmt"

// Face is where a request came in. Trust follows the listener that accepted it, never the peer's address.
type Face uint8

// The faces. The zero Face is none, and nothing is allowed there.
const (
	FaceNone    Face = iota
	FaceLAN          // plain http on the home network: claim, first pairing, help; nothing else
	FaceTunnel       // http and https inside the tunnel, and loopback: everything, by role
	FaceSecure       // https with the box's own certificate on the home network: everything, by role
	FaceMesh         // links between boxes only
	FacePublic       // the open Internet: never admin
	FaceConsole      // admin.sock: opening it is the proof, so the caller acts as an owner
)

var faceNames = [...]string{"none", "lan", "tunnel", "secure", "mesh", "public", "console"}

func (f Face) String() string {
	if int(f) < len(faceNames) {
		return faceNames[f]
	}
	return fmt.Sprintf("face %d", f)
}

// Faces lists every face but FaceNone, for tests that walk them.
func Faces() []Face {
	return []Face{FaceLAN, FaceTunnel, FaceSecure, FaceMesh, FacePublic, FaceConsole}
}

// Caller is who asks, as the listener and the credential say. The zero Caller is nobody, from nowhere.
type Caller struct {
	Face    Face
	Person  PersonID // "" when nobody is signed in, and on FaceConsole
	Role    Role
	Device  DeviceID // the device whose tunnel address the request came from, "" otherwise
	Session string   // an identifier for the audit log and for ending one's own session; never a credential
	Address string   // where from, for the audit log and for throttling only
}

// MaxRequest is the greatest body of a request on any face, in bytes; the longest form, a page of words, is far below it.
const MaxRequest = 16 << 10
