// Package textqr draws QR codes as text, for the box's screen and for a terminal.
package textqr

import (
	"strings"

	"rsc.io/qr"
)

// Draw draws text as a QR code with two dots in each character cell, light on dark, with a quiet zone of two dots and
// two columns of space before it. It needs three characters, which the kernel's own console font has. A text that is
// too long for any code gives "".
func Draw(text string) string {
	c, err := qr.Encode(text, qr.L)
	if err != nil {
		return ""
	}
	const quiet = 2
	light := func(x, y int) bool { return !c.Black(x, y) }
	var s strings.Builder
	for y := -quiet; y < c.Size+quiet; y += 2 {
		s.WriteString("  ")
		for x := -quiet; x < c.Size+quiet; x++ {
			top, bottom := light(x, y), light(x, y+1) && y+1 < c.Size+quiet
			switch {
			case top && bottom:
				s.WriteRune('█')
			case top:
				s.WriteRune('▀')
			case bottom:
				s.WriteRune('▄')
			default:
				s.WriteByte(' ')
			}
		}
		s.WriteByte('\n')
	}
	return s.String()
}
