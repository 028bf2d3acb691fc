#!/usr/bin/env bash
# What pulling and unpacking an image costs beside skopeo and umoci, as Markdown on stdout.
#
#   [NABE=target/release/nabe] [ROUNDS=5] [MEGABYTES=200] benches/pull.sh
#
# Needs root, docker-registry, skopeo, umoci, cc. Everything is on loopback and below one temporary
# directory.
#
# How: an image of four layers, gzipped MEGABYTES in sum (files of 4 kB to 4 MB, half of each random),
# pushed with skopeo. A round is `nabe unpack REF` into an empty store beside `skopeo copy` into an OCI
# layout and `umoci unpack` of it, then `nabe pull` beside `skopeo copy`; in turn, after one that is not
# counted. A figure is the median, a ratio the median of the rounds' ratios with its range; CPU time is
# user + system of all children, from getrusage.
set -euo pipefail
cd "$(dirname "$0")/.."

nabe=$(realpath "${NABE:-${CARGO_TARGET_DIR:-target}/release/nabe}")
rounds=${ROUNDS:-5}
megabytes=${MEGABYTES:-200}

say() { printf '%s\n' "bench: $*" >&2; }
[ -x "$nabe" ] || { say "no $nabe: run cargo build --release first"; exit 1; }
[ "$(id -u)" = 0 ] || { say "root is needed, to keep owners"; exit 1; }
for program in docker-registry skopeo umoci python3; do
  command -v "$program" >/dev/null || { say "no $program"; exit 1; }
done

work=$(mktemp -d)
registry=
clean() { [ -z "$registry" ] || { kill "$registry"; wait "$registry" 2>/dev/null || true; }; rm -rf "$work"; }
trap clean EXIT
export XDG_RUNTIME_DIR=$work HOME=$work NABE_CONFIG=/dev/null

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$work/config.yml" <<EOF
version: 0.1
storage: {filesystem: {rootdirectory: $work/data}}
http: {addr: '127.0.0.1:$port'}
EOF
docker-registry serve "$work/config.yml" >/dev/null 2>&1 &
registry=$!

say "making an image of $megabytes MB"
umoci init --layout "$work/made"
umoci new --image "$work/made:x"
for layer in 1 2 3 4; do
  python3 - "$work/tree$layer" "$layer" $((megabytes * 1000000 / 4)) <<'EOF'
import os, random, sys
root, layer, budget = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
choose = random.Random(layer)
written = number = 0
while written < budget:
    size = choose.choice([4096, 4096, 16384, 65536, 262144, 4194304])
    directory = f"{root}/layer{layer}/d{number % 50}"
    os.makedirs(directory, exist_ok=True)
    with open(f"{directory}/f{number}", "wb") as out:
        out.write(choose.randbytes(size) + b"the same text again and again\n" * (size // 30))
    written += size
    number += 1
EOF
  umoci insert --image "$work/made:x" "$work/tree$layer/layer$layer" "/layer$layer" >/dev/null
  rm -r "$work/tree$layer"
done
reference=127.0.0.1:$port/bench:x
skopeo copy -q --dest-tls-verify=false "oci:$work/made:x" "docker://$reference"
rm -r "$work/made"

cat >"$work/run.py" <<'EOF'
import os, resource, shutil, statistics, subprocess, sys, time
nabe, reference, work, rounds = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
def measure(commands):
    for place in ("store", "layout", "bundle"):
        shutil.rmtree(f"{work}/{place}", ignore_errors=True)
    os.sync()
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    for command in commands:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
common = [nabe]
ours = ["--root", f"{work}/store", "--plain-http"]
copy = ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{reference}", f"oci:{work}/layout:x"]
lines = {
    "pull and unpack to a bundle": (
        [common + ["unpack", "-q"] + ours + [reference, f"{work}/bundle"]],
        [copy, ["umoci", "unpack", "--image", f"{work}/layout:x", f"{work}/bundle"]]),
    "pull, packed": ([common + ["pull", "-q", "--no-unpack"] + ours + [reference]], [copy]),
}
print("| what | nabe | skopeo (+ umoci) | wall ratio | CPU ratio |")
print("|---|---|---|---|---|")
for name, (a, b) in lines.items():
    pairs = [(measure(a), measure(b)) for _ in range(rounds + 1)][1:]
    median = lambda values: statistics.median(values)
    def ratio(at):
        ratios = sorted(x[at] / y[at] for x, y in pairs)
        return f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    cell = lambda side: f"{median([p[side][0] for p in pairs]):.2f} s, CPU {median([p[side][1] for p in pairs]):.2f} s"
    print(f"| {name} | {cell(0)} | {cell(1)} | {ratio(0)} | {ratio(1)} |")
EOF
size=$(du -sb "$work/data/docker/registry/v2/blobs" | cut -f1)
printf 'Image: %s MB packed, 4 layers. %s rounds.\n\n' $((size / 1000000)) "$rounds"
python3 "$work/run.py" "$nabe" "$reference" "$work" "$rounds"
