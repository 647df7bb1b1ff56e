// Package claimcode holds the claim secret: 80 random bits that prove possession of an unowned box, and all that
// follows from them.
//
//	          +-- Text         7QK4-M2VX-9TRD-HC6P       (typed)
//	          +-- Words        eight words of BIP-39     (read aloud, checked)
//	Code -----+-- URL          http://hearth.local/#CODE (scanned; a fragment never leaves the browser)
//	 80 bits  +-- PSK          the key of the sealed channel on plain http
//	          +-- Certificate  the https certificate before the claim, so that its Fingerprint can be on paper
//	                           before the box has ever run
//
// The same code always gives the same bytes: the tool that flashes a card prints what the box will show. Golden
// tests pin them; a change here would make printed sheets worthless.
//
// Strength: whoever sees the certificate or a sealed exchange can test guesses without asking the box, at one
// P-256 multiplication or one HKDF a guess, against 2^80 codes. Guesses asked of the box are for its throttle.
//
// The package is a leaf tool: anyone may import it, and of ours it imports only secret.
package claimcode
