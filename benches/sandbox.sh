#!/usr/bin/env bash
# benches/sandbox.sh [NABE] [ROUNDS] [FILES]: what the sandbox costs a compile job (cc of FILES files, one after
# the other, and a link) beside the bare job and `strace -f` to a file. The three take turns; medians of wall
# and of CPU time, children included, in ms, and how many times the bare job's that is. Of the sandbox, the
# whole run counts: making the container, the job, the capture, the judgement; the last line is the job alone,
# from its first event to its last. All write to memory. Needs root, cc and a built nabe.
set -euo pipefail
nabe=$(realpath "${1:-target/release/nabe}") rounds=${2:-5} files=${3:-40} here=$(cd "$(dirname "$0")" && pwd)
[ "$(id -u)" = 0 ] || { echo "SKIP sandbox: it takes root"; exit 0; }
[ -x "$nabe" ] || { echo "sandbox: $nabe is not there: cargo build --release, or name another" >&2; exit 1; }
command -v cc >/dev/null || { echo "SKIP sandbox: cc is not installed"; exit 0; }
scratch=$(mktemp -d -p /dev/shm)
trap 'rm -rf "$scratch"' EXIT
cc -O2 -o "$scratch/rusage" "$here/rusage.c"
cat >"$scratch/job.sh" <<JOB
#!/bin/sh
set -e
d=\$(mktemp -d -p "\${WORK:-/tmp}")
cd "\$d"
i=0
while [ \$i -lt $files ]; do
  echo "#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int f\$i(int n) { char s[64]; int t = 0; for (int i = 0; i < n; i++) { snprintf(s, sizeof s, \"%d\", i * \$i); t += (int)strlen(s); } return t; }" > f\$i.c
  cc -O2 -c f\$i.c
  i=\$((i + 1))
done
echo 'int main(void) { return 0; }' > main.c
cc -O2 -o job main.c f*.o
./job
cd /
rm -rf "\$d"
JOB
chmod +x "$scratch/job.sh"
export WORK=$scratch
run() {
  local name=$1; shift
  "$scratch/rusage" "$scratch/$name" "$@"
  [ "$(tail -n 1 "$scratch/$name" | awk '{ print $4 }')" = 0 ] || { echo "sandbox: $name failed" >&2; exit 1; }
}
for _ in $(seq "$rounds"); do
  run bare "$scratch/job.sh"
  if command -v strace >/dev/null; then run strace strace -f -o "$scratch/strace.out" "$scratch/job.sh"; fi
  run sandbox sh -c "exec '$nabe' sandbox --json --cpus '$(nproc)' --disk 512M '$scratch/job.sh' > '$scratch/report'"
  awk '/"duration_ns"/ { gsub(/[^0-9]/, "", $2); print "0", int($2 / 1000) }' "$scratch/report" >>"$scratch/inside"
done
# median FILE COLUMN: in ms.
median() {
  awk -v c="$2" '{ print $c }' "$scratch/$1" | sort -n |
    awk '{ v[NR] = $1 } END { printf "%.0f", (v[int((NR + 1) / 2)] + v[int((NR + 2) / 2)]) / 2000 }'
}
bare_cpu=$(median bare 1) bare_wall=$(median bare 2)
times() { awk "BEGIN { printf \"%.2f\", $1 / $2 }"; }
printf '%-22s %10s %7s %10s %7s\n' "$rounds rounds, $files files" 'wall ms' times 'CPU ms' times
for name in bare strace sandbox; do
  [ -f "$scratch/$name" ] || { echo "strace -f: not installed"; continue; }
  wall=$(median "$name" 2) cpu=$(median "$name" 1)
  label=$name; [ "$name" != strace ] || label='strace -f'; [ "$name" != sandbox ] || label='nabe sandbox'
  printf '%-22s %10s %7s %10s %7s\n' "$label" "$wall" "$(times "$wall" "$bare_wall")" "$cpu" "$(times "$cpu" "$bare_cpu")"
done
wall=$(median inside 2)
printf '%-22s %10s %7s\n' 'the job inside' "$wall" "$(times "$wall" "$bare_wall")"
