// Hello is the smallest program that can stand in for hearth in an image: it answers on plain http port 80. The
// laboratory boots it where the subject is the image and not the program, and the bench measures against it.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"time"
)

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello from the box") })
	// Files below the state are readable and writable, so that tests can see what survives a pulled plug.
	mux.Handle("GET /file/", http.StripPrefix("/file/", http.FileServer(http.Dir("/perm/hearth"))))
	mux.Handle("GET /run/", http.StripPrefix("/run/", http.FileServer(http.Dir("/run/hearth"))))
	mux.Handle("GET /proc/", http.StripPrefix("/proc/", http.FileServer(http.Dir("/proc"))))
	mux.HandleFunc("PUT /file/{name}", put)
	s := &http.Server{Addr: ":80", Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(s.ListenAndServe())
}

func put(w http.ResponseWriter, r *http.Request) {
	f, err := os.Create("/perm/hearth/" + r.PathValue("name"))
	if err == nil {
		defer f.Close()
		_, err = f.ReadFrom(http.MaxBytesReader(w, r.Body, 64<<20))
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
