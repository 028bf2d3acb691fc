#!/usr/bin/env bash
# What live events cost, in ns of a thread's CPU time per system call: untraced, and added by an empty
# program, by a raw ring record of 64 bytes and by one of as many bytes as the call's own, by a probe
# for another call, by one that filters the call out (and that to the empty program), by one that
# captures it (and that to the raw record of the same bytes); and the reader's ns per event.
# Everything takes turns in one run, so compare ratios.
#
#   benches/live.sh [CALLS [ROUNDS [KIND]]]    as root, on a machine with two processors and little to do
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "SKIP live: loading BPF programs takes root"; exit 0; }
cargo build -q --release -p nabe-probe --example cost
exec "${CARGO_TARGET_DIR:-target}/release/examples/cost" "$@"
