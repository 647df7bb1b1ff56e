// Readme renews the table of boards in README.md: go generate ./hwtest/readme. Without boards/README.md there is
// nothing to renew.
package main

import (
	"fmt"
	"os"

	"hearth.alt/hwtest/readme"
)

const root = "../../" // go generate runs in hwtest/readme

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "renewing README.md:", err)
		os.Exit(1)
	}
}

func run() error {
	boards, err := os.ReadFile(root + "boards/README.md")
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	old, err := os.ReadFile(root + "README.md")
	if err != nil {
		return err
	}
	filled, err := readme.Fill(string(old), string(boards))
	if err != nil || filled == string(old) {
		return err
	}
	return os.WriteFile(root+"README.md", []byte(filled), 0o644)
}
