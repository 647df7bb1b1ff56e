// Readme writes boards/README.md from the data: go generate ./boards.
package main

import (
	"log"
	"os"

	"hearth.alt/boards"
)

func main() {
	if err := os.WriteFile("README.md", []byte(boards.README()), 0o644); err != nil {
		log.Fatal(err)
	}
}
