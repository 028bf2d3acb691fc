#!/usr/bin/env bash
# What `nabe replay` costs beside Debian's sysdig on a capture of millions of events, as Markdown on stdout.
#
#   [NABE=target/release/nabe] [CAPTURE=…] [TIMES=60] [ROUNDS=5] [OUT=/tmp] benches/replay.sh [LINE...]
#
# LINE: none print json rewrite linear (default: all). Needs cc and sysdig; the capture is one of the
# tests' (../shared, or $NABE_SHARED), its event blocks repeated TIMES times with shifted times.
#
# How: both programs in turn, A-B-A-B, after one round that is not counted, on one core; CPU time (user +
# system) from getrusage; output discarded, but for rewrite, which goes to a new file. Both files lie in
# OUT, $TMPDIR unless given: on a disk, as any capture; the first round brings them into the page cache.
# What the kernel alone takes to read the capture and to write as many bytes into such a file (dd) stands
# on stderr: that is in both programs' figures and no program can save it; on a tmpfs it is twice as much.
# The file that nabe wrote has to be read by both, with as many events. A figure is the median, a ratio the
# median of the rounds' ratios with its range.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
nabe=${NABE:-$target/release/nabe}
capture=${CAPTURE:-${NABE_SHARED:-../shared}/data/scap/sf-collector/mpm-event__full_capture.scap}
rounds=${ROUNDS:-5}
times=${TIMES:-60}
lines=("$@")
[ "${#lines[@]}" -gt 0 ] || lines=(none print json rewrite linear)

say() { printf '%s\n' "bench: $*" >&2; }
for need in cc sysdig taskset; do
  command -v "$need" >/dev/null || { say "no $need"; exit 1; }
done
[ -x "$nabe" ] || { say "no $nabe: run cargo build --release first"; exit 1; }
[ -f "$capture" ] || { say "no capture at $capture"; exit 1; }

out=$(mktemp -d -p "${OUT:-${TMPDIR:-/tmp}}")
work=$(mktemp -d -p "${OUT:-${TMPDIR:-/tmp}}")
trap 'rm -rf "$work" "$out"' EXIT
cc -O2 -o "$work/rusage" benches/rusage.c
cargo build -q --release -p nabe-scap --example capture
repeat() { "$target/release/examples/capture" repeat "$capture" "$work/$1.scap" "$2" >/dev/null; }
repeat big "$times"
export TZ=UTC

# compare NAME COMMAND...: each command (a string for the shell's word splitting) in turn.
compare() {
  local name=$1 round i; shift
  local -a command
  for ((round = 0; round <= rounds; round++)); do
    for ((i = 1; i <= $#; i++)); do
      eval "command=(${!i})"
      rm -f "$out"/*
      taskset -c 0 "$work/rusage" "$work/$name.$((i - 1))" "${command[@]}" 2>/dev/null
    done
    # The first round warms caches.
    [ "$round" -gt 0 ] || rm -f "$work/$name".[0-9]
  done
}
# median COLUMN FILE; column 1 CPU µs, 3 peak KiB
median() { cut -d' ' -f"$1" "$2" | sort -n | awk '{v[NR]=$1} END {print (NR%2) ? v[(NR+1)/2] : (v[NR/2]+v[NR/2+1])/2}'; }
# ratio NUMERATOR DENOMINATOR → "6.1 (5.9-6.3)", paired by round
ratio() {
  paste -d' ' <(cut -d' ' -f1 "$1") <(cut -d' ' -f1 "$2") | awk '$2 > 0 {print $1/$2}' | sort -g |
    awk '{v[NR]=$1} END {m=(NR%2) ? v[(NR+1)/2] : (v[NR/2]+v[NR/2+1])/2; printf "%.1f (%.1f-%.1f)", m, v[1], v[NR]}'
}
million() { awk -v us="$1" -v events="$2" 'BEGIN {printf "%.2f", events/us}'; }

# As sysdig counts: hidden events, too.
events=$("$nabe" replay "$work/big.scap" -D --count)
say "$events events, $(stat -c %s "$work/big.scap") bytes"
echo "| what | sysdig, M events/CPU s | nabe, M events/CPU s | times faster | peak MiB: sysdig, nabe |"
echo "|---|---|---|---|---|"

# against NAME TITLE SYSDIG-ARGUMENTS NABE-ARGUMENTS
against() {
  local f=$work/big.scap
  compare "$1" "sysdig -r $f $3" "$nabe replay $f $4"
  if cut -d' ' -f4 "$work/$1.1" | grep -qv '^0$'; then
    echo "| $2 | | | **runs failed** | |"; return
  fi
  echo "| $2 | $(million "$(median 1 "$work/$1.0")" "$events") | $(million "$(median 1 "$work/$1.1")" "$events") |" \
    "$(ratio "$work/$1.0" "$work/$1.1") | $(($(median 3 "$work/$1.0" | cut -d. -f1) / 1024)), $(($(median 3 "$work/$1.1" | cut -d. -f1) / 1024)) |"
}
line_none() { against none 'filter that matches nothing' '"proc.name=nobody and fd.name contains nothing"' '"proc.name=nobody and fd.name contains nothing"'; }
line_print() { against print 'print every line' '' ''; }
line_json() { against json '-j, default format' '-j' '-j'; }
line_rewrite() {
  against rewrite 'rewrite' "-w $out/scap" "-q -w $out/scap"
  # nabe's is the last one.
  local again
  again=$("$nabe" replay "$out/scap" -D --count)
  sysdig -r "$out/scap" -q || { say "sysdig does not read what nabe wrote"; exit 1; }
  [ "$again" = "$events" ] || { say "rewritten: $again events"; exit 1; }
  compare floor "dd if=$work/big.scap of=$out/dd bs=256k"
  say "the kernel's share of rewriting: $(median 1 "$work/floor.0") of $(median 1 "$work/rewrite.1") µs"
}
line_linear() { # a tenth of the events: a tenth of the time, the same memory
  local tenth=$((times / 10))
  repeat small "$tenth"
  compare linear "$nabe replay $work/small.scap evt.num=0" "$nabe replay $work/big.scap evt.num=0"
  echo "| ${times}/${tenth} times the events | | | time × $(ratio "$work/linear.1" "$work/linear.0") |" \
    "$(($(median 3 "$work/linear.0" | cut -d. -f1) / 1024)) then $(($(median 3 "$work/linear.1" | cut -d. -f1) / 1024)) |"
}
for line in "${lines[@]}"; do
  "line_$line"
done
