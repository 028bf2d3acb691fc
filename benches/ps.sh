#!/usr/bin/env bash
# What `nabe ps` costs beside the tools that people would otherwise run, as Markdown on stdout.
#
#   [NABE=target/release/nabe] [ROUNDS=9] [PROCESSES=5000] [HOLDERS=20] benches/ps.sh [LINE...]
#
# LINE: table files tcp pid startup containers memory (default: all). Root, because lsof and ss see only
# their own otherwise. Needs cc, ps, lsof, ss, docker.io; a line whose tool is missing is left out with a reason.
#
# How: the population of tests/population; commands of one line run in turn, A-B-A-B, after one round
# that is not counted; CPU time (user + system) from getrusage; output discarded. A figure is the median,
# a ratio the median of the rounds' ratios with its range. Compare ratios: wall time on a shared machine
# says little, and is shown only where a tool waits for a daemon.
set -euo pipefail
cd "$(dirname "$0")/.."

nabe=${NABE:-${CARGO_TARGET_DIR:-target}/release/nabe}
rounds=${ROUNDS:-9}
lines=("$@")
[ "${#lines[@]}" -gt 0 ] || lines=(table files tcp pid startup containers memory)

say() { printf '%s\n' "bench: $*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }
[ -x "$nabe" ] || { say "no $nabe: run cargo build --release first"; exit 1; }
[ "$(id -u)" = 0 ] || { say "root is needed, for lsof and ss as much as for nabe"; exit 1; }

work=$(mktemp -d)
population=
engines=
clean() {
  [ -z "$population" ] || { exec 9>&-; wait "$population" 2>/dev/null || true; population=; }
  [ -z "$engines" ] || "$engines" down >/dev/null 2>&1 || say "the container engine did not go; see $work/e"
  rm -rf "$work"
}
trap clean EXIT
cc -O2 -o "$work/rusage" benches/rusage.c
cc -O2 -o "$work/population" tests/population/population.c

populate() { # starts the population once
  [ -z "$population" ] || return 0
  mkfifo "$work/hold"
  "$work/population" --processes "${PROCESSES:-5000}" --holders "${HOLDERS:-20}" <"$work/hold" >"$work/ready" &
  population=$!
  exec 9>"$work/hold"
  until grep -q '^READY' "$work/ready"; do
    kill -0 "$population" 2>/dev/null || { say "the population did not start"; exit 1; }
    sleep 0.2
  done
}
depopulate() {
  [ -n "$population" ] || return 0
  exec 9>&-; wait "$population" || true; population=; rm -f "$work/hold" "$work/ready"
}

# compare NAME COMMAND... : each command (a string for the shell's word splitting, quotes honoured) in
# turn, $rounds times. Leaves $work/NAME.0, NAME.1, … with a line per round.
compare() {
  local name=$1 round i; shift
  local -a command
  for ((round = 0; round <= rounds; round++)); do
    for ((i = 1; i <= $#; i++)); do
      eval "command=(${!i})"
      "${prefix[@]}" "$work/rusage" "$work/$name.$((i - 1))" "${command[@]}"
    done
    # The first round warms caches.
    [ "$round" -gt 0 ] || rm -f "$work/$name".[0-9]
  done
}
prefix=()

# median COLUMN FILE; column 1 CPU µs, 2 wall µs, 3 peak KiB
median() { cut -d' ' -f"$1" "$2" | sort -n | awk '{v[NR]=$1} END {print (NR%2) ? v[(NR+1)/2] : (v[NR/2]+v[NR/2+1])/2}'; }
ms() { awk -v us="$1" 'BEGIN {printf "%.1f", us/1000}'; }
# ratio COLUMN NUMERATOR DENOMINATOR → "0.31 (0.29-0.35)", paired by round
ratio() {
  paste -d' ' <(cut -d' ' -f"$1" "$2") <(cut -d' ' -f"$1" "$3") | awk '$2 > 0 {print $1/$2}' | sort -g |
    awk '{v[NR]=$1} END {m=(NR%2) ? v[(NR+1)/2] : (v[NR/2]+v[NR/2+1])/2; printf "%.3f (%.3f-%.3f)", m, v[1], v[NR]}'
}
holds() { awk -v is="${1%% *}" -v most="$2" 'BEGIN {print (is <= most) ? "yes" : "**no**"}'; }
# All rounds of our own command must have ended well: a failure is quick.
sound() {
  local bad; bad=$(cut -d' ' -f4 "$1" | grep -cv '^0$' || true)
  [ "$bad" = 0 ] || { say "$2: $bad of $rounds runs failed"; echo "| $2 | | | | | | **runs failed** |"; return 1; }
}
row() { printf '| %s | %s | %s | %s | %s | %s | %s |\n' "$@"; }

# against NAME TITLE MOST PEER OURS
against() {
  compare "$1" "$4" "$5"
  sound "$work/$1.1" "$2" || return 0
  local r; r=$(ratio 1 "$work/$1.1" "$work/$1.0")
  row "$2" "\`$4\`" "$(ms "$(median 1 "$work/$1.0")")" "$(ms "$(median 1 "$work/$1.1")")" "$r" "≤ $3" "$(holds "$r" "$3")"
}

line_table() {
  have ps || { say "table: no ps"; return; }
  populate; against table 'full table' 0.35 'ps auxf' "$nabe ps"
}
line_files() {
  have lsof || { say "files: no lsof"; return; }
  populate; against files 'all descriptors' 0.1 'lsof -n -P' "$nabe ps 'file.fd >= 0' -o files"
}
line_tcp() {
  have ss || { say "tcp: no ss"; return; }
  populate
  against tcp 'TCP with owners' 0.6 'ss -tanp' \
    "$nabe ps 'socket.type == tcp && (socket.family == inet || socket.family == inet6)' -o sockets"
}
line_pid() {
  populate
  compare pid "$nabe version" "$nabe ps 'process.pid == 2'" "$nabe ps"
  sound "$work/pid.1" 'one pid' || return 0
  local start one all r
  start=$(median 1 "$work/pid.0") one=$(median 1 "$work/pid.1") all=$(median 1 "$work/pid.2")
  r=$(awk -v s="$start" -v o="$one" -v a="$all" 'BEGIN {printf "%.3f", (a > s) ? (o - s) / (a - s) : 1}')
  row "one pid, above start-up ($(ms "$start") ms)" "\`nabe ps\`" "$(ms "$all")" "$(ms "$one")" "$r" '≤ 0.1' "$(holds "$r" 0.1)"
}
line_startup() {
  # A PID namespace of its own: a handful of processes, so that only the fixed cost is left.
  depopulate
  prefix=(unshare --pid --fork --mount-proc --kill-child)
  if ! "${prefix[@]}" true 2>/dev/null; then say "startup: unshare is refused"; prefix=(); return; fi
  compare startup 'ps auxf' "$nabe ps" "$nabe version"
  prefix=()
  sound "$work/startup.1" 'few processes' || return 0
  local is; is=$(ms "$(median 1 "$work/startup.1")")
  row "few processes, fixed cost in ms (\`nabe version\`: $(ms "$(median 1 "$work/startup.2")"))" "\`ps auxf\`" \
    "$(ms "$(median 1 "$work/startup.0")")" "$is" "$(ratio 1 "$work/startup.1" "$work/startup.0")" '≤ 15 ms' "$(holds "$is" 15)"
}
line_containers() {
  # 41 containers, 310 processes. psc took 1,510 ms of wall beside 85 ms of `docker ps`, and 197 ms of
  # CPU beside 29; so a tenth of it is 1.78 times the wall and 0.68 times the CPU of `docker ps`.
  engines=tests/engines/engines.sh
  export NABE_ENGINES_DIR=$work/e
  "$engines" up docker 2>"$work/engines.log" || { say "containers: $(tail -n 1 "$work/engines.log")"; engines=; return; }
  depopulate
  local i sleepers
  for ((i = 0; i < 41; i++)); do
    sleepers=$((i < 23 ? 7 : 6)) # with the shell: 23 × 8 + 18 × 7 = 310
    "$engines" docker run -d --network none --name "web$i" --label "com.docker.compose.service=web$i" nabe-test:1 \
      sh -c "i=0; while [ \$i -lt $sleepers ]; do sleep 6000 & i=\$((i+1)); done; wait" >/dev/null
  done
  eval "$("$engines" env)"
  compare containers 'docker ps' "$nabe ps 'container.id != \"\"' -o containers"
  sound "$work/containers.1" '41 containers' || return 0
  local named r
  named=$("$nabe" ps 'container.name.startsWith("web")' -o container.name --format tsv --no-header | sort -u | wc -l)
  r=$(ratio 2 "$work/containers.1" "$work/containers.0")
  row "41 containers, wall ($named named)" '`docker ps`' "$(ms "$(median 2 "$work/containers.0")")" \
    "$(ms "$(median 2 "$work/containers.1")")" "$r" '≤ 1.78' "$(holds "$r" 1.78)"
  r=$(ratio 1 "$work/containers.1" "$work/containers.0")
  row '41 containers, CPU' '`docker ps`' "$(ms "$(median 1 "$work/containers.0")")" \
    "$(ms "$(median 1 "$work/containers.1")")" "$r" '≤ 0.68' "$(holds "$r" 0.68)"
}
line_memory() {
  populate
  compare memory "$nabe ps" "$nabe ps 'file.fd >= 0' -o files" "$nabe ps 'socket.type == tcp' -o sockets"
  local i what=('the full table' 'all descriptors' 'TCP with owners') mib
  for i in 0 1 2; do
    sound "$work/memory.$i" "peak memory of ${what[i]}" || continue
    mib=$(cut -d' ' -f3 "$work/memory.$i" | sort -n | tail -n 1 | awk '{printf "%.1f", $1/1024}')
    row "peak resident memory of ${what[i]}, MiB" '' '' "$mib" '' '≤ 20 MiB' "$(holds "$mib" 20)"
  done
}

cat <<HEAD
$(uname -srm), $(nproc) CPUs, load $(cut -d' ' -f1 /proc/loadavg), $(date -u +%F); $("$nabe" version 2>/dev/null | head -n 1);
population ${PROCESSES:-5000} sleepers + ${HOLDERS:-20} holders; $rounds rounds; CPU milliseconds.

| what | beside | its CPU ms | nabe's | ratio (range) | promise | holds |
|---|---|---|---|---|---|---|
HEAD
for line in "${lines[@]}"; do
  if [ "$(type -t "line_$line")" = function ]; then "line_$line"; else say "unknown line: $line"; exit 2; fi
done
