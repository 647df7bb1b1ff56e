// Vm boots a board's image in QEMU with its serial console here: make vm BOARD=arm64. The disk is a fresh copy of
// 8 GiB each time; end it with ctrl-a x. The box's ports 80, 443 and 51820/udp are forwarded from the addresses it
// prints.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"hearth.alt/hwtest/vm"
)

func main() {
	board := flag.String("board", "arm64", "board to play: rpi, arm64 or amd64")
	program := flag.String("program", vm.Hearth, "import path of the main program")
	words := flag.String("append", "hearth.console=1", "added to the kernel's command line")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := vm.Interactive(ctx, *board, *program, *words); err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		os.Exit(1)
	}
}
