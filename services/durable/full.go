package durable

import (
	"errors"
	"syscall"
)

// sqliteFull is SQLITE_FULL, and sqliteNoMap SQLITE_IOERR_SHMSIZE, which a full disk gives first (sqlite.org/rescode.html).
const (
	sqliteFull  = 13
	sqliteNoMap = 4874
)

// Full says whether err comes of a disk, or a quota, without room.
func Full(err error) bool {
	var coded interface {
		error
		Code() int
	}
	if errors.As(err, &coded) {
		if c := coded.Code(); c&0xff == sqliteFull || c == sqliteNoMap {
			return true
		}
	}
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
