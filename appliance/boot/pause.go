//go:build !bootpause

package boot

// pause marks a step of growing at which the laboratory pulls the plug. In the program it does nothing; see
// pause_lab.go.
func pause(string) {}

func pauseLater(string) {}

func tear(device, []byte) {}
