#!/usr/bin/env bash
# What a container costs: create + start + delete, and run, of busybox `true`, with
# nabe, runc and crun in turn. CPU and wall time, medians of ROUNDS (default 9)
# interleaved rounds. Then its memory: the peak of each step, and what stays of the
# runtime while `run` stands before a container. Needs root, busybox-static, runc, crun,
# python3, time.
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
import json, os, statistics, subprocess, sys, time
work, nabe, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
runtimes = {"nabe": nabe, "runc": "runc", "crun": "crun"}
devnull = open(os.devnull, "r+")

def call(runtime, *words):
    # By the children's own account, so that what the kernel does for them counts.
    start = time.monotonic()
    command = [runtimes[runtime], "--root", f"{work}/state-{runtime}", *words]
    child = subprocess.Popen(command, stdin=devnull, stdout=devnull, stderr=devnull)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {child.returncode}")
    return wall * 1e3, (usage.ru_utime + usage.ru_stime) * 1e3

def peak(runtime, *words):
    # A child begins with the peak of who forks it, and this process is large: let a small one do it.
    command = ["/usr/bin/time", "-q", "-f", "%M", "-o", f"{work}/peak",
               runtimes[runtime], "--root", f"{work}/state-{runtime}", *words]
    subprocess.run(command, stdin=devnull, stdout=devnull, stderr=devnull, check=True)
    with open(f"{work}/peak") as file:
        peaks.setdefault((runtime, words[0]), []).append(int(file.read().split()[-1]) / 1024)

def state(runtime, id):
    return subprocess.run([runtimes[runtime], "--root", f"{work}/state-{runtime}", "state", id], stdin=devnull,
                          stdout=subprocess.PIPE, stderr=devnull).stdout

peaks = {}

figures = {name: {} for name in runtimes}
def note(name, step, figure):
    figures[name].setdefault(step, []).append(figure)

for number in range(rounds + 1):
    for name in runtimes:
        id = f"bench-{os.getpid()}-{name}-{number}"
        steps = [("create", call(name, "create", "--bundle", work, id)), ("start", call(name, "start", id))]
        while b'"stopped"' not in state(name, id):
            time.sleep(0.01)
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
def resident(pid):
    with open(f"/proc/{pid}/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return [int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon")]

for number in range(min(rounds, 5)):
    for name in runtimes:
        id = f"bench-{os.getpid()}-{name}-peak-{number}"
        peak(name, "create", "--bundle", work, id)
        peak(name, "start", id)
        while b'"stopped"' not in state(name, id):
            time.sleep(0.01)
        peak(name, "delete", id)
        peak(name, "run", "--bundle", work, id)

# The same bundle with a program that stays, and its runtime in the foreground.
with open(f"{work}/config.json") as file:
    config = json.load(file)
config["process"]["args"] = ["busybox", "sleep", "1000"]
with open(f"{work}/config.json", "w") as file:
    json.dump(config, file)
staying = {}
for name in runtimes:
    id, root = f"bench-{os.getpid()}-{name}-stay", f"{work}/state-{name}"
    child = subprocess.Popen([runtimes[name], "--root", root, "run", "--bundle", work, id],
                             stdin=devnull, stdout=devnull, stderr=devnull)
    for _ in range(200):
        if b'"running"' in state(name, id):
            break
        time.sleep(0.05)
    staying[name] = resident(child.pid)
    subprocess.run([runtimes[name], "--root", root, "kill", id, "KILL"], check=True)
    child.wait()

print("\n| MiB | create, peak | start, peak | delete, peak | run, peak | staying | staying, private |")
print("|---|---|---|---|---|---|---|")
for name in runtimes:
    cells = [f"{statistics.median(peaks[name, step]):.1f}" for step in ("create", "start", "delete", "run")]
    print(f"| {name} | " + " | ".join(cells + [f"{value:.1f}" for value in staying[name]]) + " |")
print()
for other in ("runc", "crun"):
    ratio = lambda step, part: middle["nabe", step, part] / max(middle[other, step, part], 1e-9)
    print(f"nabe / {other}: cycle wall {ratio('cycle', 0):.2f}, cycle CPU {ratio('cycle', 1):.2f}, run wall {ratio('run', 0):.2f}, run CPU {ratio('run', 1):.2f}")
PY
