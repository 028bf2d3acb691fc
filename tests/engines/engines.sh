#!/usr/bin/env bash
# Private container engines for tests: dockerd, containerd, podman, runc and crun
# with every file below one temporary directory and no touch on the host's
# network. Needs root. Safe to run twice.
#
#   engines.sh up [docker] [containerd] [podman]   start daemons, make the image
#                                    (default: every engine that is installed)
#   engines.sh down                  end and remove everything that was made here
#   engines.sh env                   print variables for nabe and the engines' clients
#   engines.sh have ENGINE           succeed when the engine is installed and up
#
#   engines.sh docker-run NAME [DOCKER RUN OPTION…]    print the container's id
#   engines.sh docker-many N [PREFIX]                  PREFIX1 … PREFIXN (default c)
#   engines.sh docker-compose NAME PROJECT SERVICE     with compose's labels
#   engines.sh docker-pod NAME POD NAMESPACE UID       with dockershim's labels and cgroup
#   engines.sh ctr-run NAMESPACE NAME [CTR OPTION…]
#   engines.sh podman-run NAME [PODMAN RUN OPTION…]    print the container's id
#   engines.sh podman-api                              serve podman's API on podman.sock
#   engines.sh runc-run NAME [CGROUP]                  plain runc, by default in /nabe-engines/NAME
#   engines.sh crun-run NAME [CGROUP]                  plain crun, cgroup v1 only
#   engines.sh runc-exec NAME                          `true` in a container of plain runc
#   engines.sh pid docker|ctr|podman|runc|crun NAME    pid of the container's first process
#   engines.sh docker|ctr|podman ARGS…                 the engine's client, pointed here
#
#   engines.sh dockerd-hang | dockerd-resume | dockerd-kill
#   engines.sh containerd-hang | containerd-resume | containerd-kill
#
# NABE_ENGINES_DIR names the directory (default: nabe-engines in TMPDIR or /tmp;
# keep it short, sockets live in it). NABE_ENGINES_RUNTIME is an OCI runtime that
# every engine uses instead of runc. Every container runs the image nabe-test:1
# (busybox-static) with `sleep 100000`, without a network.
# Exit 77 with "skip: reason" on stderr when an engine is not installed.
set -euo pipefail

DIR=${NABE_ENGINES_DIR:-${TMPDIR:-/tmp}/nabe-engines}
IMAGE=nabe-test:1
RUNTIME=${NABE_ENGINES_RUNTIME:-}
DOCKER_SOCK=$DIR/docker.sock
CONTAINERD_SOCK=$DIR/containerd.sock
PATH=$PATH:/usr/sbin:/sbin

say() { printf 'engines: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
skip() { printf 'skip: %s\n' "$*" >&2; exit 77; }
installed() { command -v "$1" >/dev/null 2>&1; }

# A pid file names a live process whose command line mentions our directory.
alive() {
	local pid
	pid=$(cat "$DIR/$1.pid" 2>/dev/null) || return 1
	[ -n "$pid" ] && ours "$pid"
}

ours() { tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -qF "$DIR/"; }

wait_for() { # SECONDS COMMAND…
	local tries=$(($1 * 10))
	shift
	until "$@" >/dev/null 2>&1; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || return 1
		sleep 0.1
	done
}

docker_() { command docker -H "unix://$DOCKER_SOCK" "$@"; }
ctr_() { command ctr -a "$CONTAINERD_SOCK" "$@"; }
podman_() {
	command podman --root "$DIR/podman/root" --runroot "$DIR/podman/run" \
		--tmpdir "$DIR/podman/tmp" --runtime "${RUNTIME:-$(command -v runc)}" \
		--cgroup-manager cgroupfs --events-backend file "$@"
}

# --- image -------------------------------------------------------------------

make_rootfs() {
	local busybox applet
	busybox=$(command -v busybox) || skip "busybox-static is not installed"
	mkdir -p "$DIR/rootfs/bin" "$DIR/rootfs/tmp" "$DIR/rootfs/etc" "$DIR/rootfs/proc"
	cp "$busybox" "$DIR/rootfs/bin/busybox"
	for applet in sh sleep cat ls nc httpd true id; do
		ln -sf busybox "$DIR/rootfs/bin/$applet"
	done
	printf 'root:x:0:0:root:/:/bin/sh\n' >"$DIR/rootfs/etc/passwd"
}

# A docker-archive, which docker, ctr and podman all load.
make_image() {
	[ -f "$DIR/image.tar" ] && return
	make_rootfs
	local work=$DIR/image layer config arch
	case $(uname -m) in
	x86_64) arch=amd64 ;;
	aarch64) arch=arm64 ;;
	*) arch=$(uname -m) ;;
	esac
	mkdir -p "$work"
	tar --sort=name --owner=0 --group=0 --mtime=@0 -C "$DIR/rootfs" -cf "$work/layer.tar" .
	layer=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
	printf '%s' '{"architecture":"'"$arch"'","os":"linux","created":"2024-01-01T00:00:00Z",' \
		'"config":{"Cmd":["sleep","100000"],"Env":["PATH=/bin"],"Labels":{"image.label":"from the image"}},' \
		'"rootfs":{"type":"layers","diff_ids":["sha256:'"$layer"'"]},"history":[{"created_by":"engines.sh"}]}' \
		>"$work/config"
	config=$(sha256sum "$work/config" | cut -d' ' -f1)
	mv "$work/config" "$work/$config.json"
	printf '[{"Config":"%s.json","RepoTags":["docker.io/library/%s"],"Layers":["layer.tar"]}]' \
		"$config" "$IMAGE" >"$work/manifest.json"
	tar -C "$work" -cf "$DIR/image.tar.new" "$config.json" layer.tar manifest.json
	mv "$DIR/image.tar.new" "$DIR/image.tar"
}

# --- up ----------------------------------------------------------------------

remember_host() {
	[ -f "$DIR/cgroups.before" ] && return
	find /sys/fs/cgroup -mindepth 1 -maxdepth 2 -type d >"$DIR/cgroups.before"
	find /run/containerd /run/docker /run/runc /run/crun /run/nabe -maxdepth 1 2>/dev/null \
		>"$DIR/run.before" || true
}

up_containerd() {
	alive containerd && return
	installed containerd && installed ctr || skip "containerd is not installed"
	cat >"$DIR/containerd.toml" <<-EOF
		version = 2
		root = "$DIR/containerd/root"
		state = "$DIR/containerd/state"
		disabled_plugins = ["io.containerd.grpc.v1.cri"]
		[grpc]
		address = "$CONTAINERD_SOCK"
	EOF
	setsid containerd --config "$DIR/containerd.toml" \
		>>"$DIR/containerd.log" 2>&1 </dev/null &
	echo $! >"$DIR/containerd.pid"
	wait_for 30 ctr_ version || die "containerd does not answer; see $DIR/containerd.log"
}

up_docker() {
	alive dockerd && return
	installed dockerd && installed docker || skip "docker is not installed"
	up_containerd
	echo '{}' >"$DIR/daemon.json"
	rm -f "$DIR/dockerd-own.pid"
	setsid dockerd --config-file "$DIR/daemon.json" --data-root "$DIR/docker" \
		--exec-root "$DIR/docker-exec" --pidfile "$DIR/dockerd-own.pid" \
		-H "unix://$DOCKER_SOCK" --containerd "$CONTAINERD_SOCK" \
		--iptables=false --ip6tables=false --bridge=none --storage-driver overlay2 \
		${RUNTIME:+--add-runtime "nabe=$RUNTIME" --default-runtime nabe} \
		>>"$DIR/dockerd.log" 2>&1 </dev/null &
	echo $! >"$DIR/dockerd.pid"
	wait_for 60 docker_ version || die "dockerd does not answer; see $DIR/dockerd.log"
	docker_ image inspect "$IMAGE" >/dev/null 2>&1 || docker_ load -q -i "$DIR/image.tar" >&2
}

up_podman() {
	installed podman && installed runc || skip "podman with runc is not installed"
	podman_ image exists "$IMAGE" || podman_ load -q -i "$DIR/image.tar" >&2
	touch "$DIR/podman.up"
}

up() {
	[ "$(id -u)" = 0 ] || skip "engines need root"
	mkdir -p "$DIR"
	chmod 711 "$DIR"
	remember_host
	make_image
	if [ $# = 0 ]; then
		for engine in docker containerd podman; do
			(up_"$engine") || [ $? = 77 ]
		done
	else
		for engine in "$@"; do up_"$engine"; done
	fi
}

# --- containers --------------------------------------------------------------

# Remembers the top of a cgroup path, for `down`.
note_cgroup() {
	local top=${1#/}
	echo "${top%%/*}" >>"$DIR/cgroups.made"
}

docker_run() { # NAME OPTION…
	local name=$1
	shift
	local previous= option
	for option in "$@"; do
		[ "$previous" != --cgroup-parent ] || note_cgroup "$option"
		previous=$option
	done
	alive dockerd || skip "dockerd is not up"
	docker_ run -d --network none --name "$name" "$@" "$IMAGE" sleep 100000
}

docker_many() {
	local n=$1 prefix=${2:-c} i
	for ((i = 1; i <= n; i++)); do
		docker_run "$prefix$i" --label "number=$i" >/dev/null
	done
}

docker_pod() { # NAME POD NAMESPACE UID
	docker_run "k8s_$1_$2_$3_$4_0" --cgroup-parent "/kubepods/besteffort/pod$4" \
		--label "io.kubernetes.container.name=$1" --label "io.kubernetes.pod.name=$2" \
		--label "io.kubernetes.pod.namespace=$3" --label "io.kubernetes.pod.uid=$4" \
		--label io.kubernetes.docker.type=container
}

ctr_run() { # NAMESPACE NAME OPTION…
	local ns=$1 name=$2
	shift 2
	alive containerd || skip "containerd is not up"
	ctr_ -n "$ns" image ls -q | grep -q "$IMAGE" ||
		ctr_ -n "$ns" image import "$DIR/image.tar" >&2
	note_cgroup "$ns"
	ctr_ -n "$ns" run -d ${RUNTIME:+--runc-binary "$RUNTIME"} "$@" "docker.io/library/$IMAGE" "$name" sleep 100000
}

podman_run() { # NAME OPTION…
	local name=$1
	shift
	[ -f "$DIR/podman.up" ] || skip "podman is not up"
	podman_ run -d --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 \
		--name "$name" "$@" "$IMAGE" sleep 100000
}

podman_api() {
	[ -f "$DIR/podman.up" ] || skip "podman is not up"
	alive podman-api && return
	setsid podman --root "$DIR/podman/root" --runroot "$DIR/podman/run" \
		--tmpdir "$DIR/podman/tmp" --cgroup-manager cgroupfs --events-backend file \
		system service --time 0 "unix://$DIR/podman.sock" \
		>>"$DIR/podman-api.log" 2>&1 </dev/null &
	echo $! >"$DIR/podman-api.pid"
	wait_for 20 test -S "$DIR/podman.sock" || die "podman does not serve; see $DIR/podman-api.log"
}

bundle() { # RUNTIME NAME CGROUP
	local path=$DIR/bundle/$1-$2
	mkdir -p "$path"
	# Nothing needs `up` for a runtime without a daemon.
	remember_host
	[ -d "$DIR/rootfs" ] || make_rootfs
	note_cgroup "$3"
	rm -f "$path/config.json"
	runc spec --bundle "$path"
	sed -i -e 's/"terminal": true/"terminal": false/' \
		-e 's/^\(\t*\)"sh"$/\1"sleep", "100000"/' \
		-e "s|\"path\": \"rootfs\"|\"path\": \"$DIR/rootfs\"|" \
		-e "s|^\t\"linux\": {|\t\"annotations\": {\"org.example.team\": \"$2\"},\n\t\"linux\": {\n\t\t\"cgroupsPath\": \"$3\",|" \
		"$path/config.json"
	echo "$path"
}

runc_run() { # NAME CGROUP
	installed runc || skip "runc is not installed"
	local path
	path=$(bundle runc "$1" "${2:-/nabe-engines/$1}")
	runc --root "$DIR/runc" run -d --bundle "$path" "$1" >/dev/null 2>"$path/err" </dev/null ||
		die "runc: $(cat "$path/err")"
}

crun_run() { # NAME CGROUP
	installed crun && installed runc || skip "crun is not installed"
	local path
	path=$(bundle crun "$1" "${2:-/nabe-engines/$1}")
	# crun refuses a hybrid hierarchy: hide the v2 half from it.
	unshare -m sh -c 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"' sh \
		crun --root "$DIR/crun" run -d --bundle "$path" "$1" >/dev/null 2>"$path/err" </dev/null ||
		die "crun: $(cat "$path/err")"
}

pid_of() { # ENGINE NAME
	case $1 in
	docker) docker_ inspect -f '{{.State.Pid}}' "$2" ;;
	podman) podman_ inspect -f '{{.State.Pid}}' "$2" ;;
	ctr) ctr_ -n "${3:-foo}" task ls | awk -v name="$2" '$1 == name {print $2}' ;;
	runc | crun) command "$1" --root "$DIR/$1" state "$2" | awk -F'[:,]' '/"pid"/ {print $2 + 0}' ;;
	*) die "no engine $1" ;;
	esac
}

print_env() {
	cat <<-EOF
		export DOCKER_HOST=unix://$DOCKER_SOCK
		export CONTAINERD_ADDRESS=$CONTAINERD_SOCK
		export NABE_ENGINE_SOCKETS=docker=$DOCKER_SOCK,containerd=$CONTAINERD_SOCK
		export NABE_ENGINE_ROOTS=docker=$DIR/docker,containerd=$DIR/containerd/state:$DIR/containerd/root,podman=$DIR/podman/root:$DIR/podman/run,runc=$DIR/runc,crun=$DIR/crun
	EOF
}

signal() { # DAEMON SIGNAL
	alive "$1" || die "$1 is not up"
	kill -s "$2" "$(cat "$DIR/$1.pid")"
}

# --- down --------------------------------------------------------------------

stop_daemon() {
	alive "$1" || return 0
	local pid
	pid=$(cat "$DIR/$1.pid")
	kill -s CONT "$pid" 2>/dev/null || true
	kill -s TERM "$pid" 2>/dev/null || true
	wait_for 15 dead "$pid" || kill -s KILL "$pid" 2>/dev/null || true
	wait_for 5 dead "$pid" || say "$1 ($pid) does not end"
	rm -f "$DIR/$1.pid"
}

dead() { ! ours "$1"; }

# Shims and conmons that were started for a container of ours, by pid.
watchers() {
	local proc comm
	for proc in /proc/[0-9]*; do
		# Without a process of its own: there may be thousands to look at.
		comm=
		read -r comm 2>/dev/null <"$proc/comm" || true
		case $comm in
		containerd-shim* | conmon) ours "${proc#/proc/}" && echo "${proc#/proc/}" ;;
		esac
	done
	return 0
}

end_containers() {
	local pid child name
	for pid in $(watchers); do
		for child in $(cat "/proc/$pid/task/"*/children 2>/dev/null); do
			kill -s KILL "$child" 2>/dev/null || true
		done
	done
	for name in "$DIR"/runc/*/; do
		[ -d "$name" ] && runc --root "$DIR/runc" delete --force "$(basename "$name")" || true
	done
	for name in "$DIR"/crun/*/; do
		[ -d "$name" ] && unshare -m sh -c 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"' sh \
			crun --root "$DIR/crun" delete --force "$(basename "$name")" || true
	done
	[ ! -f "$DIR/podman.up" ] || podman_ rm --all --force --time 0 >/dev/null 2>&1 || true
}

remove_cgroups() {
	local hierarchy top
	[ -f "$DIR/cgroups.before" ] || return 0
	for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*/; do
		hierarchy=${hierarchy%/}
		for top in docker moby libpod_parent $(cat "$DIR/cgroups.made" 2>/dev/null); do
			[ -d "$hierarchy/$top" ] || continue
			grep -qxF "$hierarchy/$top" "$DIR/cgroups.before" && continue
			find "$hierarchy/$top" -depth -type d -exec rmdir {} + 2>/dev/null || true
		done
	done
}

# containerd puts these below /run whatever its configuration says; other
# containerds may be using the same directories.
note_run() {
	local task ns id
	: >"$DIR/run.made"
	for task in "$DIR"/containerd/state/io.containerd.runtime.v2.task/*/*/; do
		[ -d "$task" ] || continue
		id=$(basename "$task")
		ns=$(basename "$(dirname "$task")")
		sed 's|^unix://||' "$task/address" 2>/dev/null >>"$DIR/run.made" && echo >>"$DIR/run.made"
		echo "/run/containerd/runc/$ns/$id" >>"$DIR/run.made"
		find /run/containerd/fifo -name "$id-std*" 2>/dev/null >>"$DIR/run.made" || true
	done
}

sweep_run() {
	local path
	while read -r path; do
		case $path in /run/containerd/?*) rm -rf "$path" ;; esac
	done <"$DIR/run.made"
	for path in /run/containerd /run/docker /run/runc /run/crun /run/nabe; do
		grep -qxF "$path" "$DIR/run.before" 2>/dev/null && continue
		[ ! -d "$path" ] || find "$path" -depth -type d -empty -delete 2>/dev/null || true
	done
}

down() {
	[ -d "$DIR" ] || return 0
	if alive containerd; then signal containerd CONT; fi
	local pid path
	note_run
	end_containers
	stop_daemon podman-api
	stop_daemon dockerd
	for pid in $(watchers); do kill -s KILL "$pid" 2>/dev/null || true; done
	stop_daemon containerd
	awk -v dir="$DIR/" 'index($5, dir) == 1 {print $5}' /proc/self/mountinfo | sort -r |
		while read -r path; do umount -l "$path" 2>/dev/null || true; done
	sleep 0.2
	remove_cgroups
	sweep_run
	rm -rf --one-file-system "$DIR"
}

verb=${1:-}
[ -n "$verb" ] || { sed -n '2,/^set /{/^set /!p}' "$0" >&2; exit 2; }
shift
case $verb in
up) up "$@" ;;
down) down ;;
env) print_env ;;
have)
	case $1 in
	docker) alive dockerd ;;
	containerd) alive containerd ;;
	podman) [ -f "$DIR/podman.up" ] ;;
	*) installed "$1" ;;
	esac
	;;
docker-run) docker_run "$@" ;;
docker-many) docker_many "$@" ;;
docker-compose)
	docker_run "$1" --label "com.docker.compose.project=$2" --label "com.docker.compose.service=$3"
	;;
docker-pod) docker_pod "$@" ;;
ctr-run) ctr_run "$@" ;;
podman-run) podman_run "$@" ;;
podman-api) podman_api ;;
runc-run) runc_run "$@" ;;
crun-run) crun_run "$@" ;;
runc-exec) runc --root "$DIR/runc" exec "$1" true ;;
pid) pid_of "$@" ;;
docker) docker_ "$@" ;;
ctr) ctr_ "$@" ;;
podman) podman_ "$@" ;;
dockerd-hang) signal dockerd STOP ;;
dockerd-resume) signal dockerd CONT ;;
dockerd-kill) signal dockerd KILL ;;
containerd-hang) signal containerd STOP ;;
containerd-resume) signal containerd CONT ;;
containerd-kill) signal containerd KILL ;;
*) die "no verb $verb" ;;
esac
