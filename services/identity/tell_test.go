package identity

import (
	"strings"
	"testing"

	"hearth.alt/services/identity/internal/record"
)

// Every operation there is has its sentence.
func TestTell(t *testing.T) {
	told := map[string]bool{}
	for _, p := range []record.Payload{
		record.Genesis{}, record.AddBox{}, record.AddPerson{}, record.SetRole{}, record.RenamePerson{}, record.ActivatePerson{}, record.SetLAN{},
		record.RemovePerson{}, record.AddDevice{}, record.ActivateDevice{}, record.RenameDevice{}, record.RemoveDevice{}, record.RemoveBox{},
		record.Epoch{}, record.AddFriend{}, record.RenameFriend{}, record.UpdateFriend{}, record.SetGrants{}, record.RemoveFriend{},
		record.ReplaceBox{}, record.SetLeaving{},
	} {
		r := &record.Record{Payload: p}
		if say := (called{}).tell(r); say.Key == "identity.log.newer" {
			t.Errorf("%s is told as something new", r.Op())
		}
		told[r.Op().String()] = true
	}
	for op := record.OpGenesis; !strings.HasPrefix(op.String(), "op-"); op++ {
		if !told[op.String()] {
			t.Errorf("%s is not in this test", op)
		}
	}
	if say := (called{}).tell(&record.Record{Payload: record.Unknown{Code: 99}}); say.Key != "identity.log.newer" {
		t.Errorf("an operation of a newer program is told as %s", say.Key)
	}
}
