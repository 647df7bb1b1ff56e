// Hello is the smallest web server that Go makes: what Hearth's memory and start are set against. It says where it
// listens in the way of Hearth's ready line.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"time"
)

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("hello ready http=%s\n", l.Addr())
	s := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") }),
	}
	log.Fatal(s.Serve(l))
}
