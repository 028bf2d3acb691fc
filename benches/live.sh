#!/usr/bin/env bash
# What live events cost, in ns of a thread's CPU time per system call: untraced, and added by an empty
# program, by a bare ring record of 64 bytes, by a probe for another call, by one that filters the
# call out, by one that captures it; and the reader's ns per event. All in one run, so compare ratios.
#
#   benches/live.sh [CALLS [ROUNDS]]    as root, on a machine with two processors and little to do
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "SKIP live: loading BPF programs takes root"; exit 0; }
cargo build -q --release -p nabe-probe --example cost
exec "${CARGO_TARGET_DIR:-target}/release/examples/cost" "$@"
