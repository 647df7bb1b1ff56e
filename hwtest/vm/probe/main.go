// Probe stands in for hearth where the subject of a test is the machine and not the program: it shows and takes files
// of the box over plain http, and calls what the keeper would call.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"hearth.alt/appliance/boot"
)

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "probe") })
	mux.Handle("GET /file/", http.StripPrefix("/file/", http.FileServer(http.Dir(boot.StateDir))))
	mux.Handle("GET /run/", http.StripPrefix("/run/", http.FileServer(http.Dir(boot.RunDir))))
	mux.HandleFunc("PUT /file/{name}", func(w http.ResponseWriter, r *http.Request) { answer(w, put(w, r)) })
	mux.HandleFunc("PUT /claimed", func(w http.ResponseWriter, _ *http.Request) { answer(w, boot.EraseClaim()) })
	mux.HandleFunc("GET /claim", func(w http.ResponseWriter, _ *http.Request) {
		code, err := boot.ReadClaim()
		if err != nil {
			answer(w, err)
			return
		}
		fmt.Fprint(w, code.Text())
	})
	mux.HandleFunc("GET /facts", func(w http.ResponseWriter, _ *http.Request) {
		name, err := os.Hostname()
		fmt.Fprintln(w, name, time.Now().UTC().Format(time.RFC3339), err)
	})
	s := &http.Server{Addr: ":80", Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(s.ListenAndServe())
}

func put(w http.ResponseWriter, r *http.Request) error {
	f, err := os.Create(boot.StateDir + "/" + r.PathValue("name"))
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.ReadFrom(http.MaxBytesReader(w, r.Body, 64<<20)); err != nil {
		return err
	}
	return f.Sync()
}

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
