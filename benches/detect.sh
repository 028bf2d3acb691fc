#!/usr/bin/env bash
# What `nabe detect` costs, as Markdown on stdout.
#
#   [NABE=target/release/nabe] [CAPTURE=…] [TIMES=20] [ROUNDS=5] benches/detect.sh [LINE...]
#
# LINE: judge start redis (default: all). Needs Debian's sysdig for judge, redis-server and
# redis-benchmark and root for redis; the capture and the rules are the tests' (../shared, or $NABE_SHARED).
#
# judge  CPU time (user + system) a capture costs with stable + incubating + sandbox rules, beside nabe
#        reading it only, and beside sysdig with one filter that never matches. The capture is read TIMES
#        times, so the start is divided among them; sysdig reads it once, its start included.
# start  Wall time of a run over a capture without events: rules loaded, first block read, end.
# redis  Requests a second of redis-benchmark on loopback, with and without nabe detect (stable rules,
#        live), in turn.
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
lines=("$@")
[ "${#lines[@]}" -gt 0 ] || lines=(judge start redis)

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
  local captures=() n
  for ((n = 0; n < times; n++)); do captures+=("$capture"); done
  local events
  events=$("$nabe" detect "${all[@]}" "$capture" 2>&1 >/dev/null | awk '/events judged/ { print $2 }')
  for ((n = 0; n < rounds; n++)); do
    cpu "$nabe" detect "${all[@]}" "${captures[@]}" >>"$work/rules"
    cpu "$nabe" replay -q "${captures[@]}" >>"$work/read" || true
    if command -v sysdig >/dev/null; then cpu sysdig -r "$capture" proc.name=nobody-is-called-so >>"$work/sysdig"; fi
  done
  printf '| judge: %s events a time | CPU s | ns an event |\n|---|---|---|\n' "$events"
  for what in rules read sysdig; do
    [ -s "$work/$what" ] || continue
    local over=$times
    [ "$what" = sysdig ] && over=1
    printf '| %s, %s times | %s | %s |\n' "$what" "$over" "$(median <"$work/$what")" \
      "$(median <"$work/$what" | awk -v n="$((events * over))" '{ printf "%.0f", $1 * 1e9 / n }')"
  done
  echo
}

start() {
  local n
  for ((n = 0; n < rounds; n++)); do wall "$nabe" detect "${all[@]}" "$empty" >>"$work/start"; done
  printf 'start to the end of an empty capture, three rule files: %s s\n\n' "$(median <"$work/start")"
}

redis() {
  command -v redis-server >/dev/null || { say "no redis-server"; return; }
  [ "$(id -u)" = 0 ] || { say "redis needs root"; return; }
  local port=16379 n detector
  redis-server --port $port --bind 127.0.0.1 --save '' --appendonly no --dir "$work" >/dev/null &
  children+=($!)
  until redis-cli -p $port ping >/dev/null 2>&1; do sleep 0.1; done
  rate() { redis-benchmark -p $port -n 100000 -c 50 -t set,get --csv 2>/dev/null | awk -F'"' '/"SET"|"GET"/ { s += $4 } END { print s / 2 }'; }
  rate >/dev/null
  for ((n = 0; n < rounds; n++)); do
    rate >>"$work/without"
    "$nabe" detect -r "$set_of/falco_rules.yaml" >/dev/null 2>>"$work/told" &
    detector=$!
    children+=("$detector")
    sleep 3
    rate >>"$work/with"
    kill -TERM "$detector"
    wait "$detector" || true
  done
  printf 'redis-benchmark, requests/s: without %s, with %s; ratio %s\n' "$(median <"$work/without")" \
    "$(median <"$work/with")" "$(paste "$work/with" "$work/without" | awk '{ print $1 / $2 }' | median)"
  grep -h 'events judged' "$work/told" | sed 's/^/    /'
}

for line in "${lines[@]}"; do "$line"; done
printf '\nLoad at the end: %s\n' "$(cut -d' ' -f1-3 /proc/loadavg)"
