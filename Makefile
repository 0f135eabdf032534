# Septum: a hypervisor for confidential VMs on seL4.
#
# What each target does: make help

SHELL := /bin/bash
GUEST ?= linux
OUT := build
DOMAINS := pd-console pd-mmu pd-tdx pd-vmm
export CARGO_TARGET_DIR ?= $(CURDIR)/target
# What the guest scripts read; set on the command line: make run MEM=128M VCPUS=2
export MEM VCPUS SUITE KERNEL INITRD CMDLINE APPEND GOAL FINDER
# A Microkit SDK in place of the kernel of images/kernel: see images/sdk/settings
export MICROKIT_SDK MICROKIT_BOARD MICROKIT_CONFIG

.PHONY: help setup guest image iso run test bench lint fuzz replay measure clean

help: ## This list
	@echo 'Septum: TDX guests on seL4, with or without TDX hardware.'
	@echo
	@grep -hE '^[a-z]+:.*## ' Makefile | awk -F ':.*## ' '{ printf "  make %-9s %s\n", $$1, $$2 }'
	@echo
	@echo '  GUEST=linux|hello|xo  which guest (default linux: Debian 13, busybox)'
	@echo '  KERNEL=FILE INITRD=FILE CMDLINE=TEXT MEM=256M VCPUS=1   another Linux guest'
	@echo '  SUITE=trixie       the Debian kernel'"'"'s suite: with trixie-backports user space extends RTMRs'
	@echo '  APPEND=TEXT        words behind the default command line (septum.interactive: a shell)'
	@echo '  MICROKIT_SDK=FOLDER [MICROKIT_BOARD=x86_64_generic|x86_64_generic_vtx] [MICROKIT_CONFIG=debug|release]'
	@echo '                     build for Microkit SDK 2.3.0, with its own tool'
	@echo '  FINDER=walk|stolen|role|packed  how the MMU finds its tables: docs/stolen-bits.md'
	@echo '  TRACES=FOLDER      for replay: recorded answers of a TDX module'

# Before anything else: nothing is built for an SDK that can't be used.
setup: ## Install the Debian packages that are missing
	@images/sdk/check
	@images/setup $(if $(filter x86_64_generic_vtx,$(MICROKIT_BOARD)),iso bochs)

guest: setup
	@OUT=$(OUT)/guest images/guests/build $(GUEST)

image: guest ## Build the bootable system: kernel, domains, guest
	@images/build OUT=$(OUT) GUEST_IMAGE=$(OUT)/guest/$(GUEST).img

iso: setup ## The same as an ISO that a BIOS boots: OUT/septum.iso, with MICROKIT_SDK under OUT/sdk
	@images/setup iso
	@OUT=$(OUT)/guest images/guests/build $(GUEST)
	@images/build OUT=$(OUT) GUEST_IMAGE=$(OUT)/guest/$(GUEST).img WHOLE=1
	@images/iso OUT=$(OUT)

# With a terminal, the Linux guest is to give a shell.
run: APPEND += $(if $(KERNEL)$(INITRD)$(CMDLINE),,$(shell [ -t 0 ] && echo septum.interactive))
run: image ## Boot it in QEMU and show the console (the main job)
	@images/run OUT=$(OUT)

test: setup ## All tests: host, then whole systems in QEMU
	@images/tests/run

bench: ## Measurements: SEAMCALLs, instructions, boot times, beside their peers
	@images/setup bench
	@images/bench

lint: ## Formatting and clippy, as the tests want them
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --quiet --profile pd --bins $(DOMAINS:%=-p %) -p septum-init -p selftest \
		--features "septum-init/freestanding selftest/microkit $(DOMAINS:%=%/microkit)" -- -D warnings
	cargo clippy --quiet --profile pd --bins -p hello -p loader --features hello/td,loader/td -- -D warnings
	cargo clippy --quiet --profile pd --bins -p report --features td -- -D warnings

fuzz: ## Long runs of the differential and random tests
	cargo run --release -p cpu-diff -- --count 20000000 --seed $$RANDOM
	FUZZ_CALLS=200000000 FUZZ_SEED=$$RANDOM cargo test --release -p tdx-module-check --test fuzz -- --nocapture

replay: ## Replay recorded module traces: make replay TRACES=FOLDER
	@[ -n "$(TRACES)" ] || { echo 'replay: give TRACES=<folder or file>' >&2; exit 2; }
	cargo run --quiet --release -p replay -- $(TRACES)

measure: guest ## Predict the guest's MRTD without running anything
	@cargo run --quiet -p guest-pack -- --measure $(OUT)/guest/$(GUEST).img

clean: ## Remove what was built
	rm -rf $(OUT) target
