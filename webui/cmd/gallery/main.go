// Gallery serves every page of the house in every state, on this computer only, without a house behind it.
package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"hearth.alt/webui/webtest"
)

func main() {
	addr := flag.String("http", "127.0.0.1:8490", "address to serve on")
	flag.Parse()
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "gallery:", err)
		os.Exit(1)
	}
	fmt.Printf("gallery ready http=http://%s/\n", l.Addr())
	srv := &http.Server{Handler: webtest.Gallery(), ReadHeaderTimeout: 5 * time.Second}
	fmt.Fprintln(os.Stderr, "gallery:", srv.Serve(l))
	os.Exit(1)
}
