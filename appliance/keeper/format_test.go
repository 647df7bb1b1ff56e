package keeper

import (
	"bytes"
	"testing"
)

func FuzzKeyFile(f *testing.F) {
	f.Add([]byte{})
	f.Add(formatKey(fileDevice, make([]byte, 32)))
	f.Add(formatKey(fileClient, nil))
	f.Add([]byte("HKY1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		content, ok := parseKey(fileDevice, b)
		if ok && !bytes.Equal(formatKey(fileDevice, content), b) {
			t.Errorf("%x reads as %x and is written otherwise", b, content)
		}
		if _, other := parseKey(fileClient, b); ok && other {
			t.Errorf("%x is two keys", b)
		}
		if len(b) <= maxKeyFile-len(keyMagic)-sumSize {
			if again, ok := parseKey(fileDevice, formatKey(fileDevice, b)); !ok || !bytes.Equal(again, b) {
				t.Errorf("%x does not come back", b)
			}
		}
	})
}

func FuzzAuthorityFile(f *testing.F) {
	f.Add([]byte{})
	f.Add(formatCA(make([]byte, 32), []byte("root"), []byte("intermediate")))
	f.Add(append(make([]byte, 32), 255, 255, 255, 255))
	f.Fuzz(func(t *testing.T, b []byte) {
		scalar, root, intermediate, ok := parseCA(b)
		if ok && !bytes.Equal(formatCA(scalar, root, intermediate), b) {
			t.Errorf("%x is written otherwise", b)
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2, '{', '}'})
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := parseQuestion(b); err == nil && (q.ID == 0 || calls[q.Call] == nil || len(b) > maxFrame+4) {
			t.Errorf("%q became %+v", b, q)
		}
	})
}
