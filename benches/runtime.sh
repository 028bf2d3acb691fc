#!/usr/bin/env bash
# What a container costs: create + start + delete, and run, of busybox `true`, with
# nabe, runc and crun in turn. CPU and wall time, medians of ROUNDS (default 9)
# interleaved rounds. Needs root, busybox-static, runc, crun, python3.
#
#   benches/runtime.sh [NABE] [ROUNDS]
#
# crun refuses a hybrid cgroup layout: everything runs in a private mount namespace
# without the unified hierarchy.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "needs root" >&2; exit 77; }
[ "${INSIDE:-}" ] || INSIDE=1 exec unshare -m "$0" "$@"
umount /sys/fs/cgroup/unified 2>/dev/null || true
NABE=$(realpath "${1:-target/release/nabe}")
WORK=$(mktemp -d)
trap 'rm -rf --one-file-system "$WORK"' EXIT
mkdir -p "$WORK/rootfs/bin" "$WORK/rootfs/dev" "$WORK/rootfs/proc" "$WORK/rootfs/sys"
cp "$(command -v busybox)" "$WORK/rootfs/bin/busybox"
ln -s busybox "$WORK/rootfs/bin/true"
runc spec --bundle "$WORK"
sed -i -e 's/"terminal": true/"terminal": false/' -e 's/^\(\t*\)"sh"$/\1"true"/' "$WORK/config.json"
python3 - "$WORK" "$NABE" "${2:-9}" <<'PY'
import os, resource, statistics, subprocess, sys, time
work, nabe, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
runtimes = {"nabe": nabe, "runc": "runc", "crun": "crun"}
devnull = open(os.devnull, "r+")

def call(runtime, *words):
    # By the children's own account, so that what the kernel does for them counts.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    command = [runtimes[runtime], "--root", f"{work}/state-{runtime}", *words]
    subprocess.run(command, stdin=devnull, stdout=devnull, stderr=devnull, check=True)
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall * 1e3, (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e3

figures = {name: {} for name in runtimes}
def note(name, step, figure):
    figures[name].setdefault(step, []).append(figure)

for number in range(rounds + 1):
    for name in runtimes:
        id = f"bench-{os.getpid()}-{name}-{number}"
        steps = [("create", call(name, "create", "--bundle", work, id)), ("start", call(name, "start", id))]
        time.sleep(0.05)
        steps.append(("delete", call(name, "delete", id)))
        steps.append(("run", call(name, "run", "--bundle", work, id)))
        if number == 0:
            continue  # warm
        for step, figure in steps:
            note(name, step, figure)
        note(name, "cycle", tuple(sum(part) for part in zip(*(figure for _, figure in steps[:3]))))

print("| | " + " | ".join(f"{step} ms | {step} CPU ms" for step in ["create", "start", "delete", "cycle", "run"]) + " |")
print("|---|" + "---|" * 10)
middle = {}
for name in runtimes:
    cells = []
    for step in ["create", "start", "delete", "cycle", "run"]:
        for part in (0, 1):
            values = [figure[part] for figure in figures[name][step]]
            middle[name, step, part] = statistics.median(values)
            cells.append(f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})")
    print(f"| {name} | " + " | ".join(cells) + " |")
for other in ("runc", "crun"):
    ratio = lambda step, part: middle["nabe", step, part] / max(middle[other, step, part], 1e-9)
    print(f"nabe / {other}: cycle wall {ratio('cycle', 0):.2f}, cycle CPU {ratio('cycle', 1):.2f}, run wall {ratio('run', 0):.2f}, run CPU {ratio('run', 1):.2f}")
PY
