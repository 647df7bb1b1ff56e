// Flash writes Hearth to a card: go run ./image/cmd/flash -board rpi -disk /dev/sdX. It needs the right to write to
// the disk, usually root; the image itself can be built before without (mkimage).
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"

	"hearth.alt/boards"
	"hearth.alt/image"
	"hearth.alt/image/flash"
	"hearth.alt/services/claimcode"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "flash:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	board := flag.String("board", "", "board to flash for: rpi, arm64 or amd64")
	disk := flag.String("disk", "", "the disk to overwrite, /dev/sdX; or a new file")
	file := flag.String("image", "", "image to write, .img or .img.zst (default: the one this source tree makes)")
	sheets := flag.String("sheet", "", "folder for the claim sheet (default: out in the source tree)")
	claim := flag.Bool("claim", true, "write a claim code; without it the box makes one at first boot")
	yes := flag.Bool("yes", false, "do not ask")
	var force flash.Force
	flag.BoolVar(&force.NotRemovable, strings.TrimPrefix(flash.FlagNotRemovable, "-"), false, "also a disk that is not removable")
	flag.BoolVar(&force.Mounted, strings.TrimPrefix(flash.FlagMounted, "-"), false, "also a disk that is mounted")
	flag.BoolVar(&force.File, strings.TrimPrefix(flash.FlagFile, "-"), false, "also a file that exists")
	flag.Parse()
	b, err := boards.Find(*board)
	if err != nil {
		return err
	}
	if *disk == "" {
		return errors.New("which disk? Give its name with -disk (make flash DISK=/dev/sdX); lsblk lists the disks")
	}
	d, err := flash.System{}.Look(*disk, force)
	if err != nil {
		return err
	}
	module, err := image.FindModule(".")
	if err != nil {
		return err
	}
	if *file == "" {
		r, err := image.Build(ctx, image.Options{Board: b, Module: module, Log: os.Stderr})
		if err != nil {
			return err
		}
		*file = r.Image
	}
	if *sheets == "" {
		*sheets = filepath.Join(module, "out")
	}
	if d.Block && !*yes {
		if err := ask(d); err != nil {
			return err
		}
	}
	o := flash.Options{Image: *file, Board: b, Disk: d, Progress: progress()}
	var page, text string
	if *claim {
		o.Code = claimcode.New()
		// The sheet comes first: a card whose code nobody knows would be worth little.
		if err := os.MkdirAll(*sheets, 0o755); err != nil {
			return err
		}
		if page, text, err = flash.WriteSheet(*sheets, b.Name, time.Now(), o.Code); err != nil {
			return fmt.Errorf("writing the claim sheet: %w", err)
		}
	}
	if err := flash.Run(ctx, o); err != nil {
		if *claim {
			err = errors.Join(err, os.Remove(page), os.Remove(text))
		}
		return err
	}
	fmt.Printf("%s now holds Hearth for %s, checked byte by byte.\n", d.Path, b.Title)
	if *claim {
		fmt.Printf("Claim sheet: %s (to print) and %s\n", page, text)
	}
	return nil
}

func ask(d *flash.Disk) error {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return errors.New("nobody is there to ask; give -yes to overwrite " + d.Path)
	}
	fmt.Printf("Everything on %s (%s, %.1f GB) will be lost. Type %s to go on: ", d.Path, d.Model, float64(d.Size)/1e9, d.Path)
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != d.Path {
		return errors.New("nothing was written")
	}
	return nil
}

// progress rewrites one line on a terminal, and prints one line for every tenth elsewhere.
func progress() func(flash.Progress) {
	terminal := term.IsTerminal(int(os.Stderr.Fd()))
	last := ""
	return func(p flash.Progress) {
		if terminal {
			fmt.Fprintf(os.Stderr, "\r\x1b[K%s", p)
			if p.Done == p.Total {
				fmt.Fprintln(os.Stderr)
			}
			return
		}
		if tenth := fmt.Sprint(p.Part, p.Done*10/p.Total); tenth != last {
			last = tenth
			fmt.Fprintln(os.Stderr, p)
		}
	}
}
