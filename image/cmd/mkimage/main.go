// Mkimage builds the image of one board: go run ./image/cmd/mkimage -board arm64. It needs no root.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"hearth.alt/boards"
	"hearth.alt/image"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	board := flag.String("board", "", "board to build for: rpi, arm64 or amd64")
	out := flag.String("out", "", "folder for the image (default: out in the source tree)")
	version := flag.String("version", "", "version of the image (default: made of the commit)")
	program := flag.String("program", image.DefaultProgram, "import path of the main program")
	name := flag.String("name", "", "file name without ending (default: hearth-<board>)")
	plain := flag.Bool("plain", false, "leave out the .zst and .sha256 files")
	flag.Parse()
	b, err := boards.Find(*board)
	if err != nil {
		return err
	}
	module, err := image.FindModule(".")
	if err != nil {
		return err
	}
	r, err := image.Build(ctx, image.Options{
		Board: b, Module: module, Out: *out, Version: *version, Program: *program, Name: *name,
		Compress: !*plain, Log: os.Stderr,
	})
	if err != nil {
		return err
	}
	fmt.Printf("%s\n  version %s, dated %s\n  %.1f MB, one slot's root %.1f MB", r.Image, r.Version, r.Time.Format("2006-01-02 15:04:05 UTC"),
		float64(r.Size)/1e6, float64(r.RootSize)/1e6)
	if r.Compressed != "" {
		fmt.Printf(", compressed %.1f MB\n  SHA-256 %s", float64(r.Packed)/1e6, r.SHA256)
	}
	fmt.Println()
	return nil
}
