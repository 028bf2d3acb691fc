#!/usr/bin/env bash
# Conformance suites that others wrote, run on nabe and on its peers, one after the other
# and never two at a time. Prints a table of counts; what failed stands in OUT.
#
#   RUNC_SRC=…  opencontainers/runc, after `make test-binaries`, with its images in
#               tests/integration/testdata (get-images.sh fetches them)
#   CRUN_SRC=…  containers/crun
#   TOOLS_SRC=… opencontainers/runtime-tools, after `make runtimetest validation-executables`
#   benches/conformance.sh [NAME=RUNTIME …]
#
# A suite whose sources are not named is left out. Runtimes default to nabe (target/release),
# runc and crun. Needs root, bats, jq, gawk, go, gcc, python3, script(1). nabe is called as
# `nabe-runtime`, by which name it is a runtime only. crun refuses a hybrid cgroup layout:
# it runs in a private mount namespace without the unified hierarchy.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "needs root" >&2; exit 77; }
HERE=$(realpath "$(dirname "$0")/..")
OUT=$(realpath -m "${OUT:-target/conformance}")
mkdir -p "$OUT"
[ $# -gt 0 ] || set -- "nabe=$HERE/target/release/nabe" runc=runc crun=crun

# NAME RUNTIME SUITE COMMAND…: runs the command with what the runtime wants around it.
around() {
  local name=$1; shift
  if [ "$name" = crun ] && [ -d /sys/fs/cgroup/unified ]; then
    unshare -m bash -c 'umount /sys/fs/cgroup/unified; exec "$@"' - "$@"
  else
    "$@"
  fi
}

count() { grep -cE "$1" "$2" || true; }
row() { printf '| %s | %s | %s | %s | %s |\n' "$@"; }

bats_suite() {
  local log=$OUT/bats-$1.tap
  rm -f "$log"
  # runc takes the terminal from its own: the suite needs one.
  (cd "$RUNC_SRC" && around "$1" env RUNC="$2" script -qefc \
    "bats --tap ${BATS_FILES:-tests/integration} >$(printf %q "$log") 2>&1" /dev/null </dev/null >/dev/null) || true
  local all skipped
  all=$(count '^ok ' "$log"); skipped=$(count '^ok .*# skip' "$log")
  grep '^not ok' "$log" >"$OUT/bats-$1.failed" || true
  row "runc's bats" "$1" $((all - skipped)) "$(count '^not ok' "$log")" "$skipped"
}

tools_suite() {
  local passed=0 failed=0 program log name
  : >"$OUT/tools-$1.failed"
  for program in "$TOOLS_SRC"/validation/*/*.t; do
    name=$(basename "$program" .t); log=$OUT/tools-$1-$name.tap
    if (cd "$TOOLS_SRC" && around "$1" env RUNTIME="$2" timeout -k 5 90 "$program" </dev/null >"$log" 2>&1) &&
      ! grep -q '^not ok' "$log"; then
      passed=$((passed + 1))
    else
      failed=$((failed + 1)); echo "$name" >>"$OUT/tools-$1.failed"
    fi
  done
  row "runtime-tools" "$1" "$passed" "$failed" 0
}

crun_suite() {
  local work=$OUT/crun-tests log=$OUT/crun-$1.tap test
  mkdir -p "$work"; : >"$work/config.h"; : >"$log"
  [ -x "$work/init" ] || gcc -static -I"$work" -o "$work/init" "$CRUN_SRC/tests/init.c" 2>"$OUT/crun-init.log"
  for test in "$CRUN_SRC"/tests/test_*.py; do
    echo "# $(basename "$test")" >>"$log"
    (cd "$CRUN_SRC/tests" && around "$1" env OCI_RUNTIME="$2" INIT="$work/init" \
      timeout -k 5 300 python3 "$test" </dev/null >>"$log" 2>>"$log.err") || echo "# ended with $?" >>"$log"
  done
  local all skipped
  all=$(count '^ok ' "$log"); skipped=$(count '^ok .*# *[Ss][Kk][Ii][Pp]' "$log")
  grep '^not ok' "$log" >"$OUT/crun-$1.failed" || true
  row "crun's Python" "$1" $((all - skipped)) "$(count '^not ok' "$log")" "$skipped"
}

echo "| suite | runtime | passed | failed | skipped |"
echo "|---|---|---|---|---|"
for suite in tools bats crun; do
  case $suite in
    tools) [ -n "${TOOLS_SRC:-}" ] || continue ;;
    bats) [ -n "${RUNC_SRC:-}" ] || continue ;;
    crun) [ -n "${CRUN_SRC:-}" ] || continue ;;
  esac
  for pair in "$@"; do
    name=${pair%%=*} path=$(command -v "${pair#*=}") || { echo "${pair#*=} is not here" >&2; continue; }
    path=$(realpath "$path")
    if [ "$name" = nabe ]; then
      ln -sf "$path" "$OUT/nabe-runtime"; path=$OUT/nabe-runtime
    fi
    "${suite}_suite" "$name" "$path"
  done
done
