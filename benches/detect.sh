#!/usr/bin/env bash
# What `nabe detect` costs, as Markdown on stdout.
#
#   [NABE=target/release/nabe] [CAPTURE=…] [TIMES=20] [ROUNDS=5] [PAIRS=7] [CONTAINERS=500] benches/detect.sh [LINE...]
#
# memory Resident memory behind 1,000, 10,000, 20,000 and 40,000 containers of a synthetic stream, and at
#        start and end of CONTAINERS real ones (runc, docker or nabe are not needed: a cgroup each).
#
# LINE: judge start redis memory (default: all). Needs Debian's sysdig for judge, redis-server and
# redis-benchmark and root for redis; the capture and the rules are the tests' (../shared, or $NABE_SHARED).
#
# judge  CPU time (user + system) a capture costs with stable + incubating + sandbox rules, beside the
#        same loop with one filter that never matches in nabe and in sysdig (the loop of Falco's libraries,
#        without rules). Each reads the capture TIMES times in one run, in turn, so that starts are divided
#        alike; ratios are of runs that stand beside each other. Falco itself is not in Debian.
# start  Wall time of a run over a capture without events: rules loaded, first block read, end.
# redis  Requests a second of redis-benchmark on loopback, with and without nabe detect (stable rules,
#        live), in turn: PAIRS times. Server and client are pinned to a CPU each (the first and the last
#        that there are), nabe is not. The ratio is the median over pairs of neighbours; nabe's own CPU
#        time is told with it.
# A figure is the median of the rounds with its range. The machine's load is printed with them: figures of
# a busy machine say little.
set -euo pipefail
cd "$(dirname "$0")/.."

nabe=${NABE:-${CARGO_TARGET_DIR:-target}/release/nabe}
data=${NABE_SHARED:-../shared}/data
capture=${CAPTURE:-$data/scap/sf-collector/mpm-event__full_capture.scap}
empty=$data/scap/falco-0.34.1/empty.scap
rounds=${ROUNDS:-5}
times=${TIMES:-20}
pairs=${PAIRS:-7}
lines=("$@")
[ "${#lines[@]}" -gt 0 ] || lines=(judge start redis memory)

say() { printf '%s\n' "bench: $*" >&2; }
[ -x "$nabe" ] || { say "no $nabe: run cargo build --release first"; exit 1; }
[ -d "$data/rules" ] || { say "no rules at $data"; exit 1; }
work=$(mktemp -d)
children=()
end() {
  for child in "${children[@]}"; do kill "$child" 2>/dev/null || true; done
  rm -rf "$work"
}
trap end EXIT

set_of=$data/rules/falcosecurity-rules-2026-06
all=(-r "$set_of/falco_rules.yaml" -r "$set_of/falco-incubating_rules.yaml" -r "$set_of/falco-sandbox_rules.yaml")
# CPU seconds of a command, output discarded.
cpu() { ( TIMEFORMAT='%U %S'; { time "$@" >/dev/null 2>&1 </dev/null; } 2>&1 ) | awk '{ print $1 + $2 }'; }
wall() { ( TIMEFORMAT='%R'; { time "$@" >/dev/null 2>&1 </dev/null; } 2>&1 ); }
# Median and range of numbers on stdin.
median() { sort -n | awk '{ a[NR] = $1 } END { printf "%.3f (%.3f to %.3f)", a[int((NR + 1) / 2)], a[1], a[NR] }'; }

printf 'Load at the start: %s; %s CPUs; %s rounds.\n\n' "$(cut -d' ' -f1-3 /proc/loadavg)" "$(nproc)" "$rounds"

judge() {
  local captures=() read=() n events what never=proc.name=nobody-is-called-so
  for ((n = 0; n < times; n++)); do captures+=("$capture") read+=(-r "$capture"); done
  events=$("$nabe" detect "${all[@]}" "$capture" 2>&1 >/dev/null | awk '/events judged/ { print $2 }')
  for ((n = 0; n < rounds; n++)); do
    cpu "$nabe" detect "${all[@]}" "${captures[@]}" >>"$work/rules"
    cpu "$nabe" replay "${captures[@]}" "$never" >>"$work/filter" || true
    if command -v sysdig >/dev/null; then cpu sysdig "${read[@]}" "$never" >>"$work/sysdig"; fi
  done
  printf '| judge: %s events, %s times | CPU s | ns an event |\n|---|---|---|\n' "$events" "$times"
  for what in "rules:nabe detect, all rules" "filter:nabe replay, one filter" "sysdig:sysdig, one filter"; do
    [ -s "$work/${what%%:*}" ] || continue
    printf '| %s | %s | %s |\n' "${what#*:}" "$(median <"$work/${what%%:*}")" \
      "$(median <"$work/${what%%:*}" | awk -v n="$((events * times))" '{ printf "%.0f", $1 * 1e9 / n }')"
  done
  if [ -s "$work/sysdig" ]; then
    for what in rules filter; do
      printf '%s to sysdig: %s\n' "$what" "$(paste "$work/$what" "$work/sysdig" | awk '{ print $1 / $2 }' | median)"
    done
  fi
  echo
}

start() {
  local n
  for ((n = 0; n < rounds; n++)); do wall "$nabe" detect "${all[@]}" "$empty" >>"$work/start"; done
  printf 'start to the end of an empty capture, three rule files: %s s\n\n' "$(median <"$work/start")"
}

# CPU seconds that a process has taken.
taken() { awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13) / hz }' "/proc/$1/stat"; }

redis() {
  command -v redis-server >/dev/null || { say "no redis-server"; return; }
  [ "$(id -u)" = 0 ] || { say "redis needs root"; return; }
  local port=16379 n detector last before
  last=$(($(nproc) - 1))
  taskset -c 0 redis-server --port $port --bind 127.0.0.1 --save '' --appendonly no --dir "$work" >/dev/null &
  children+=($!)
  until redis-cli -p $port ping >/dev/null 2>&1; do sleep 0.1; done
  rate() {
    taskset -c "$last" redis-benchmark -p $port -n 100000 -c 50 -t set,get --csv 2>/dev/null |
      awk -F'"' '/"SET"|"GET"/ { s += $4 } END { print s / 2 }'
  }
  rate >/dev/null
  for ((n = 0; n < pairs; n++)); do
    # First the one, then the other, by turns: what drifts falls on both.
    ((n % 2)) || rate >>"$work/without"
    "$nabe" detect -r "$set_of/falco_rules.yaml" >/dev/null 2>>"$work/told" &
    detector=$!
    children+=("$detector")
    sleep 3
    before=$(date +%s.%N)
    local cpu_before
    cpu_before=$(taken "$detector")
    rate >>"$work/with"
    awk -v a="$cpu_before" -v b="$(taken "$detector")" -v t="$before" -v u="$(date +%s.%N)" \
      'BEGIN { print (b - a) / (u - t) }' >>"$work/share"
    kill -TERM "$detector"
    wait "$detector" || true
    ((n % 2)) && rate >>"$work/without"
    printf '    pair %s, load %s\n' "$((n + 1))" "$(cut -d' ' -f1 /proc/loadavg)"
  done
  printf 'redis-benchmark, requests/s: without %s, with %s\nratio of neighbours: %s; CPUs that nabe took: %s\n' \
    "$(median <"$work/without")" "$(median <"$work/with")" \
    "$(paste "$work/with" "$work/without" | awk '{ print $1 / $2 }' | median)" "$(median <"$work/share")"
  grep -h 'events judged' "$work/told" | sed 's/^/    /'
}

memory() {
  NABE_SHARED=${NABE_SHARED:-} cargo test -q -p nabe --test detect_memory -- --nocapture 2>&1 |
    sed -n 's/.*containers and kB: /synthetic containers and kB: /p'
  [ "$(id -u)" = 0 ] || { say "real containers need root"; return; }
  local root detector n place rss_before
  for root in /sys/fs/cgroup/unified /sys/fs/cgroup; do [ -e "$root/cgroup.controllers" ] && break; done
  [ -e "$root/cgroup.controllers" ] || { say "no cgroup v2"; return; }
  "$nabe" detect -r "$set_of/falco_rules.yaml" >/dev/null 2>"$work/told" &
  detector=$!
  children+=("$detector")
  sleep 3
  rss_before=$(awk '/VmRSS/ { print $2 }' "/proc/$detector/status")
  for ((n = 0; n < ${CONTAINERS:-500}; n++)); do
    place=$(printf '%s/docker-%012x%052d.scope' "$root" "$((n + 1))" 0)
    mkdir "$place"
    sh -c 'echo $$ >"$1/cgroup.procs"; exec cat /etc/hostname >/dev/null' sh "$place"
    rmdir "$place" 2>/dev/null || { sleep 0.05; rmdir "$place"; }
  done
  printf '%s containers of one process, VmRSS: %s kB at the start, %s kB at the end\n' "$n" "$rss_before" \
    "$(awk '/VmRSS/ { print $2 }' "/proc/$detector/status")"
  kill -TERM "$detector"
  wait "$detector" || true
}

for line in "${lines[@]}"; do "$line"; done
printf '\nLoad at the end: %s\n' "$(cut -d' ' -f1-3 /proc/loadavg)"
