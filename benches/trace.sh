#!/usr/bin/env bash
# benches/trace.sh [NABE] [ROUNDS]: what being traced costs a program, in ns for each turn of a loop, beside peers.
# Loops: getppid; openat and close. Peers that are not installed are left out. Needs root, cc and a built nabe.
set -euo pipefail
nabe=${1:-target/release/nabe} rounds=${2:-3}
scratch=$(mktemp -d); tracer=
cleanup() { if [ -n "$tracer" ]; then kill -INT "$tracer" 2>/dev/null || true; fi; rm -rf "$scratch"; }
trap cleanup EXIT
cat >"$scratch/loop.c" <<'C'
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
/* loop ROUNDS o|g: ns a turn. */
int main(int argc, char **argv) {
  long n = atol(argv[1]);
  struct timespec a, b;
  clock_gettime(CLOCK_MONOTONIC, &a);
  for (long i = 0; i < n; i++) {
    if (argv[2][0] == 'g') syscall(SYS_getppid);
    else close(open("/dev/null", O_RDONLY));
  }
  clock_gettime(CLOCK_MONOTONIC, &b);
  fprintf(stderr, "%.0f\n", ((b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec)) / n);
  return argc != 3;
}
C
cc -O2 -o "$scratch/loop" "$scratch/loop.c"
# The median of ROUNDS runs of a loop, the tracer running or not.
median() { for _ in $(seq "$rounds"); do "$scratch/loop" "$1" "$2" 2>&1; done | sort -n | sed -n "$((rounds / 2 + 1))p"; }
row() { printf '%-34s %10s %14s\n' "$@"; }
# around NAME COMMAND…: the loops while the command runs, and what it says of losses.
around() {
  local name=$1; shift
  "$@" >/dev/null 2>"$scratch/err" & tracer=$!
  sleep 3
  if ! kill -0 "$tracer" 2>/dev/null; then
    tracer=
    row "$name" - "-"; echo "    it ended at once: $(tail -n 1 "$scratch/err")"
    return
  fi
  local ticks_before ticks
  ticks_before=$(awk '{print $14 + $15}' "/proc/$tracer/stat")
  row "$name" "$(median 100000 g)" "$(median 50000 o)"
  ticks=$(awk '{print $14 + $15}' "/proc/$tracer/stat")
  kill -INT "$tracer"; wait "$tracer" || true; tracer=
  echo "    reader: $(((ticks - ticks_before) * 1000 / $(getconf CLK_TCK))) ms CPU for $((rounds * 200000)) calls; $(tail -n 1 "$scratch/err")"
}
# under NAME COMMAND…: the loops as the command's child.
under() {
  local name=$1; shift
  row "$name" "$("$@" "$scratch/loop" 20000 g 2>&1 >/dev/null | grep -E '^[0-9]+$' | tail -n 1)" \
    "$("$@" "$scratch/loop" 10000 o 2>&1 >/dev/null | grep -E '^[0-9]+$' | tail -n 1)"
}
echo "load $(cut -d' ' -f1-3 /proc/loadavg), $(nproc) CPUs, kernel $(uname -r), $rounds rounds"
row "" getppid openat+close
row untraced "$(median 1000000 g)" "$(median 200000 o)"
around 'nabe trace, of another process' "$nabe" trace --pid 1
around 'nabe trace -q' "$nabe" trace -q
around 'nabe trace, printing' "$nabe" trace
if command -v bpftrace >/dev/null; then
  around 'bpftrace, printing' bpftrace -e 'tracepoint:raw_syscalls:sys_exit { printf("%d %s %d %d\n", tid, comm, args->id, args->ret); }'
fi
if command -v strace >/dev/null; then under 'strace -f -o /dev/null' strace -f -o /dev/null; fi
if command -v perf >/dev/null && perf trace -o /dev/null true 2>/dev/null; then under 'perf trace -o /dev/null' perf trace -o /dev/null; fi
