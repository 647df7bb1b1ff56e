// Hello answers on plain http port 80 and does nothing else. With hello/init it is the smallest gokrazy image there
// can be, which the boot of Hearth is measured against.
package main

import (
	"fmt"
	"log"
	"net/http"
	"time"
)

func main() {
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello from the box") })
	s := &http.Server{Addr: ":80", Handler: page, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(s.ListenAndServe())
}
