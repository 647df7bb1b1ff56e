package keeper_test

var plays = map[string]func() int{}
