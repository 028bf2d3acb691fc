#!/usr/bin/env bash
# benches/trace.sh [NABE] [ROUNDS]: what being traced costs a program beside peers, in one run: ns of its own
# CPU time added to each turn of a loop (getppid; read and write of 64 bytes; openat and close; connect of a
# UDP socket), then how many times as long a turn of getppid takes. Then a storm: two loops of getppid at
# once, with every tool's default buffer, and what was lost. Peers that are not installed, or do not run
# here, are left out, with the reason. Needs root, cc and a built nabe; little else should run.
set -euo pipefail
nabe=${1:-target/release/nabe} rounds=${2:-5} kinds=(getppid read write open connect)
[ "$(id -u)" = 0 ] || { echo "SKIP trace: loading BPF programs takes root"; exit 0; }
[ -x "$nabe" ] || { echo "trace: $nabe is not there: cargo build --release, or name another" >&2; exit 1; }
scratch=$(mktemp -d) tracer=
cleanup() { if [ -n "$tracer" ]; then kill -INT "$tracer" 2>/dev/null || true; fi; rm -rf "$scratch"; }
trap cleanup EXIT
trap 'exit 130' INT
cat >"$scratch/loop.c" <<'C'
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static double now(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}
/* loop TURNS KIND: ns of CPU time a turn, ns a turn. */
int main(int argc, char **argv) {
  if (argc != 3) return 2;
  long n = atol(argv[1]);
  char bytes[64] = {0}, kind = argv[2][0];
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_WRONLY), udp = socket(AF_INET, SOCK_DGRAM, 0);
  double cpu = now(CLOCK_THREAD_CPUTIME_ID), wall = now(CLOCK_MONOTONIC);
  for (long i = 0; i < n; i++) {
    switch (kind) {
    case 'g': syscall(SYS_getppid); break;
    case 'r': if (read(zero, bytes, 64) != 64) return 1; break;
    case 'w': if (write(null, bytes, 64) != 64) return 1; break;
    case 'o': close(open("/dev/null", O_RDONLY)); break;
    case 'c': connect(udp, (struct sockaddr *)&to, sizeof(to)); break;
    }
  }
  fprintf(stderr, "LOOP %.0f %.0f\n", (now(CLOCK_THREAD_CPUTIME_ID) - cpu) / n, (now(CLOCK_MONOTONIC) - wall) / n);
  return 0;
}
C
cc -O2 -o "$scratch/loop" "$scratch/loop.c"
# least TURNS KIND [COMMAND…]: the least CPU time and the least time of a turn, as a child of the command if one is given.
least() {
  local turns=$1 kind=$2; shift 2
  for _ in $(seq "$rounds"); do "$@" "$scratch/loop" "$turns" "$kind" 2>&1 >/dev/null | grep '^LOOP' || true; done |
    awk '{ if (NR == 1 || $2 < cpu) cpu = $2; if (NR == 1 || $3 < wall) wall = $3 }
      END { if (NR) print cpu, wall; else print "- -" }'
}
# row NAME TURNS [COMMAND…]: one line of the table.
declare -A bare
row() {
  local name=$1 turns=$2 kind cpu wall line factor=-; shift 2
  line=$(printf '%-32s' "$name")
  for kind in "${kinds[@]}"; do
    read -r cpu wall <<<"$(least "$turns" "$kind" "$@")"
    if [ "$name" = untraced ]; then bare[$kind]=$cpu bare[wall-$kind]=$wall; fi
    [ "$cpu" = - ] || [ "$name" = untraced ] || cpu=+$((cpu - bare[$kind]))
    [ "$kind" != getppid ] || [ "$wall" = - ] || factor=$(awk "BEGIN { printf \"%.1f\", $wall / ${bare[wall-getppid]} }")
    line+=$(printf '%9s' "$cpu")
  done
  printf '%s%9s\n' "$line" "$factor"
}
ticks() { awk '{ print $14 + $15 }' "/proc/$tracer/stat" 2>/dev/null || echo 0; }
# begin COMMAND…: starts a tool and waits until its hooks are there; fails when it ends before.
begin() {
  "$@" >"$scratch/out" 2>"$scratch/err" & tracer=$!
  for _ in $(seq 120); do
    if ! kill -0 "$tracer" 2>/dev/null; then wait "$tracer" || true; tracer=; return 1; fi
    if find "/proc/$tracer/fd" -lname 'anon_inode:*' -printf '%l\n' 2>/dev/null | grep -qE 'perf_event|bpf[-_]link|tracepoint'; then
      sleep 1; return 0
    fi
    sleep 0.25
  done
  end
  return 1
}
end() { kill -INT "$tracer" 2>/dev/null || true; wait "$tracer" || true; tracer=; }
# How many events a tool says are lost.
losses() {
  cat "$scratch/err" "$scratch/out" 2>/dev/null | grep -aiE '^nabe: [0-9]+ events seen|lost [0-9]+ events' |
    awk '/^nabe: / { for (i = 2; i <= NF; i++) if ($i ~ /^lost/) own = $(i - 1); next }
      { for (i = 2; i <= NF; i++) if ($i ~ /^events/) sum += $(i - 1) }
      END { print own + sum }'
}
why() { grep -av '^$' "$scratch/err" | tail -n 1 || true; }
# around NAME TURNS COMMAND…: the loops, then the storm, while a tool watches the whole machine.
around() {
  local name=$1 turns=$2 before calls; shift 2
  if ! begin "$@"; then printf '%-32s left out: %s\n' "$name" "$(why)"; return; fi
  row "$name" "$turns"
  before=$(ticks) calls=$((storm * 2))
  "$scratch/loop" "$storm" getppid 2>/dev/null & local one=$!
  "$scratch/loop" "$storm" getppid 2>/dev/null & local two=$!
  wait "$one" "$two"
  # What is in its buffers by now counts, too.
  sleep 1
  local spent=$((($(ticks) - before) * 10000000 / $(getconf CLK_TCK) * 100 / calls))
  end
  printf '    storm of %d calls: reader %d ns of CPU a call, %d events lost in all\n' "$calls" "$spent" "$(losses)"
}
# under NAME TURNS COMMAND…: the loops as the tool's child.
under() {
  local name=$1 turns=$2; shift 2
  if ! "$@" true >/dev/null 2>"$scratch/err"; then printf '%-32s left out: %s\n' "$name" "$(why)"; return; fi
  row "$name" "$turns" "$@"
}
storm=${STORM:-1000000}
echo "load $(cut -d' ' -f1-3 /proc/loadavg), $(nproc) CPUs, kernel $(uname -r), the least of $rounds rounds; ns of CPU time a turn, then added"
printf '%-32s%9s%9s%9s%9s%9s%9s\n' "" getppid read write open+cl connect "x time"
row untraced 100000
around 'nabe trace, of another process' 100000 "$nabe" trace --pid 1
around 'nabe trace -q' 100000 "$nabe" trace -q
around 'nabe trace, printing' 50000 "$nabe" trace
if command -v bpftrace >/dev/null; then
  # It reads events from here.
  mountpoint -q /sys/kernel/debug || mount -t debugfs none /sys/kernel/debug 2>/dev/null || true
  around 'bpftrace, counting' 100000 bpftrace -e 'tracepoint:raw_syscalls:sys_exit { @ = count(); }'
  around 'bpftrace, printing' 20000 bpftrace -e 'tracepoint:raw_syscalls:sys_exit { printf("%d %s %d %d\n", tid, comm, args->id, args->ret); }'
else echo "bpftrace: not installed"; fi
if command -v perf >/dev/null; then
  around 'perf trace -a' 10000 perf trace -a
  under 'perf trace' 10000 perf trace -o /dev/null
else echo "perf: not installed"; fi
if command -v strace >/dev/null; then under 'strace -f' 10000 strace -f -o /dev/null; else echo "strace: not installed"; fi
