# make alone lists the targets, with the comment behind each name. A fresh machine has Debian, Go, git and make.

BOARD    ?= arm64
PACKAGES ?= ./...
TESTRUN  := go run ./hwtest/cmd/testrun
NPM_CI   := npm ci --ignore-scripts --no-audit --no-fund

.PHONY: help run test check generate gallery image flash vm bench fuzz cover test-all deps

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

run: ## Hearth on this computer, with its state in ./.state; RUNFLAGS="--state DIR" names another folder
	go run ./appliance/cmd/hearth run --dev $(RUNFLAGS)

test: deps ## every test, sampled where the full figure is long: 25 minutes on two cores
	$(TESTRUN) $(PACKAGES)

check: ## before a commit: format, vet, lint, generated files, imports, tests of what changed
	go run ./hwtest/cmd/check

generate: ## renew what is generated and committed: pages, web assets, notices, tables
	$(NPM_CI) --prefix webui/assets/npm
	go run webui/assets/generate.go
	go tool templ generate -path webui
	go generate ./...

gallery: ## every page in every state, on a local address
	go run ./webui/cmd/gallery

image: ## BOARD=rpi|arm64|amd64: out/hearth-BOARD.img, the same bytes from the same commit
	go run ./image/cmd/mkimage -board $(BOARD)

flash: ## DISK=/dev/X or a new file, BOARD=B, FLASHFLAGS="-yes": write the image to a card, with its claim secret and sheet
	go run ./image/cmd/flash -board $(BOARD) -disk $(or $(DISK),$(error say which disk: make flash DISK=/dev/sdX)) $(FLASHFLAGS)

vm: ## BOARD=B: boot the image in QEMU, with its console here
	go run ./hwtest/cmd/vm -board $(BOARD)

bench: deps ## measure, beside the budgets, into hwtest/bench/latest.md
	go run ./hwtest/cmd/bench

fuzz: ## every fuzz target in the tree for 20 seconds
	go run ./hwtest/cmd/fuzz -time 20s $(PACKAGES)

cover: ## what the short tests reach, into out/cover.html
	@mkdir -p out
	go test -short -p 2 -coverprofile out/cover.out -coverpkg ./... $(PACKAGES)
	go tool cover -html out/cover.out -o out/cover.html
	go tool cover -func out/cover.out | tail -n 1

test-all: deps ## the full figures, an hour or two, into hwtest/bench/all.md
	$(TESTRUN) -all -record hwtest/bench/all.md $(PACKAGES)

deps: ## install what the tests need: Debian packages as root, axe-core by lock file
	@hwtest/deps
