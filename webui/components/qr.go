package components

import (
	"fmt"
	"strconv"
	"strings"

	"rsc.io/qr"
)

// Code is a QR code (ISO/IEC 18004) in the two forms pages need.
type Code struct {
	Path    string // of an SVG, one unit per module
	ViewBox string // with the quiet border of four modules
	PNG     []byte
}

// QR draws text at level L: a screen is never dirty, and fewer modules scan from farther away. The error is for text
// longer than a QR code holds (2,953 bytes).
func QR(text string) (Code, error) {
	c, err := qr.Encode(text, qr.L)
	if err != nil {
		return Code{}, fmt.Errorf("drawing a QR code of %d bytes: %w", len(text), err)
	}
	var b strings.Builder
	for y := 0; y < c.Size; y++ {
		for x := 0; x < c.Size; x++ {
			if !c.Black(x, y) {
				continue
			}
			n := 1
			for x+n < c.Size && c.Black(x+n, y) {
				n++
			}
			b.WriteString("M" + strconv.Itoa(x) + " " + strconv.Itoa(y) + "h" + strconv.Itoa(n) + "v1h-" + strconv.Itoa(n) + "z")
			x += n
		}
	}
	side := strconv.Itoa(c.Size + 8)
	c.Scale = 8
	return Code{Path: b.String(), ViewBox: "-4 -4 " + side + " " + side, PNG: c.PNG()}, nil
}
