#!/usr/bin/env bash
# Try the built images as a user would; prints the seconds of each part and, last, the layers of the image.
#
#   docker/try.sh                                      model-garden-tui:cu13
#   docker/try.sh model-garden-tui:cu12                another image of the target `runtime`
#   docker/try.sh model-garden-tui-cloud:cu13          an image of the target `cloud`
#   PARTS='help restart' docker/try.sh                 only these parts
#   RUNNER=podman docker/try.sh                        docker or podman; docker if its daemon answers
#
# It needs no GPU and no network, and leaves nothing behind. The port scan needs podman as root, where the container gets
# a network of its own, or docker.
# shellcheck disable=SC2016  # what is single-quoted is expanded inside the container
set -euo pipefail
cd "$(dirname "$0")/.."

image=${1:-model-garden-tui:cu13}
runner=${RUNNER:-}
if [ -z "$runner" ] && docker info >/dev/null 2>&1; then runner=docker; fi
if [ -z "$runner" ] && command -v podman >/dev/null; then runner=podman; fi
if [ -z "$runner" ]; then
    echo "try.sh: neither docker with a running daemon nor podman is here" >&2
    exit 3
fi

volume=garden-try-$$
container=garden-try-$$
net=garden-try-$$
files=$(mktemp -d)
chmod 755 "$files" # read by the unprivileged user of the image
doing=start
tidy() {
    [ $? = 0 ] || echo "FAILED: $doing" >&2
    "$runner" rm --force --time 0 "$container" >/dev/null 2>&1 || "$runner" rm --force "$container" >/dev/null 2>&1 || true
    "$runner" volume rm --force "$volume" >/dev/null 2>&1 || true
    ip netns delete "$net" >/dev/null 2>&1 || true
    rm -rf "$files"
}
trap tidy EXIT

fail() {
    echo "$*" >&2
    exit 1
}

# Start checks are off where they are not the subject: this machine has no GPU.
on_volume=(--volume "$volume:/data" --env HF_HUB_OFFLINE=1)
quiet=(--env GARDEN_CHECKS=off)

garden() { "$runner" run --rm "${on_volume[@]}" "${quiet[@]}" "$image" "$@"; }

inside() { "$runner" run --rm "${on_volume[@]}" --entrypoint bash "$image" -c "$1"; }

terminal() { python3 docker/try_terminal.py "$@"; }

state_of() { garden runs show "$1" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["state"])'; }

step_of() { garden runs list --json | python3 -c '
import json, sys
print(next(run["step"] or 0 for run in json.load(sys.stdin) if (run["name"] or run["id"]) == sys.argv[1]))' "$1"; }

is_up() { [ "$("$runner" inspect --format '{{.State.Running}}' "$container")" = true ]; }

until_true() { # seconds, what is waited for, command ...
    local until=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $until ] || fail "timed out: $what"
        sleep 1
    done
}

only() { [ -z "${PARTS:-}" ] || [[ " $PARTS " == *" $1 "* ]]; }

part() { # name, title, command ...
    only "$1" || return 0
    local began=$EPOCHREALTIME
    doing="$1 ($2)"
    echo "--- $doing"
    shift 2
    "$@"
    awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "    %.1f s\n", b - a }'
}

home=/data

# --- target runtime

said() { # text, options of run ...
    local text=$1
    shift
    "$runner" run --rm "$@" "$image" --version >"$files/out" 2>"$files/err" || true
    grep -F -- "$text" "$files/err" || { cat "$files/out" "$files/err"; fail "the start does not say: $text"; }
}

start_lines() {
    said 'No GPU was given to this container' "${on_volume[@]}"
    said 'Shared memory is 67 MB' "${on_volume[@]}" --shm-size 64m
    said 'cannot write to /data (read-only file system)' --volume "$volume:/data:ro"
    mkdir -p "$files/of-root" && chmod 755 "$files/of-root"
    said 'User 1000 cannot write to /data (permission denied)' --volume "$files/of-root:/data"
    said 'are free in /data' --tmpfs /data:rw,size=64m,mode=1777
    inside 'mkdir -p /data/runs/ahead && touch -d "2 days" /data/runs/ahead'
    said 'and the newest run is of' "${on_volume[@]}"
    inside 'rmdir /data/runs/ahead'
    # A library that answers as the driver of an older host does, and the device file of a GPU.
    local version=11080 advice='update the driver to 525'
    if "$runner" image inspect "$image" | grep 'GARDEN_IMAGE_CUDA=cu13' >/dev/null; then version=12040 advice='ends in -cu12'; fi
    printf 'int cuDriverGetVersion(int *v) { *v = %s; return 0; }\n' "$version" >"$files/cuda.c"
    "$runner" run --rm --volume "$files:/files" --user 0 --entrypoint gcc "$image" -shared -o /files/libcuda.so.1 /files/cuda.c
    local device=(--volume /dev/null:/dev/nvidiactl)
    said "$advice" "${on_volume[@]}" "${device[@]}" --volume "$files:/driver" --env LD_LIBRARY_PATH=/driver
    said 'libcuda.so.1 is not' "${on_volume[@]}" "${device[@]}"
    "$runner" run --rm "${on_volume[@]}" --env NVIDIA_VISIBLE_DEVICES=void "$image" --version 2>&1 | tee "$files/out"
    [ "$(wc -l <"$files/out")" = 1 ] || fail "a container for the CPU complains"
}

unprivileged() {
    [ "$(inside 'id -u')" != 0 ] || fail "the image runs as root"
    inside '! touch /opt/garden/new 2>/dev/null' || fail "the installation is writable"
    "$runner" run --rm --user 4321:4321 "${on_volume[@]}" "${quiet[@]}" --entrypoint bash "$image" \
        -c 'touch /data/of-4321 /work/of-4321 && mkdir -p "$HOME/.cache" && rm /data/of-4321 && garden-init model-garden plugins'
}

read_only() {
    "$runner" run --rm --read-only "${on_volume[@]}" "${quiet[@]}" "$image" demo --help >/dev/null
    "$runner" run --rm --read-only --user 4321 "${on_volume[@]}" "${quiet[@]}" --entrypoint bash "$image" -c '
        ! touch /opt/garden/new /etc/new 2>/dev/null && garden-init python -c "
import tempfile
with tempfile.NamedTemporaryFile() as file: print(\"temporary files in\", file.name.rpartition(\"/\")[0])"'
}

demo() {
    "$runner" run --rm --read-only "${on_volume[@]}" "${quiet[@]}" "$image" demo --no-dashboard
    inside 'set -e; run=$(ls -d /data/runs/*-demo); test -s "$run/events.jsonl"; test "$(stat -c %u "$run")" = 1000'
    [ "$(state_of last)" = finished ] || fail "the run is not listed as finished"
}

triton() {
    "$runner" run --rm "${on_volume[@]}" --volume "$PWD/docker/try_triton.py:/try_triton.py:ro" --entrypoint python "$image" /try_triton.py
    inside 'ls -d /data/kernels/triton/*/ | head -n 2'
    inside 'cd /data && python - <<"EOF"
import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
torch._dynamo.config.suppress_errors = False
q, k, v = (torch.randn(1, 2, 128, 32) for _ in range(3))  # torch 2.10 refuses one tensor for all three
mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, 128, 128, device="cpu")
want = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
got = torch.compile(flex_attention)(q, k, v, block_mask=mask)
print("flex attention, compiled for the CPU: largest difference", float((got - want).abs().max()))
assert torch.allclose(got, want, atol=1e-5)
EOF'
}

make_data() { "$@" model-garden create-vision-dataset --output "$home/sample/sample.jsonl" --num-examples 8 --force >/dev/null; }

long_run=(train-vision --base-model tiny --epochs 100000 --save-steps 5)

# A long run on a few rows, detached: the container outlives the command that started it.
start_long_run() { # name, options of run ...
    local name=$1
    shift
    "$runner" run --detach --name "$container" "${on_volume[@]}" "${quiet[@]}" "$@" "$image" \
        "${long_run[@]}" --dataset "$home/sample/sample.jsonl" --name "$name" --detach >/dev/null
    sleep 5
    is_up || { "$runner" logs "$container"; fail "the container ended with the command"; }
    until_true 240 "no step of $name" sh -c "[ \"\$($runner exec $container model-garden runs show $name --json | tr -d ' \n' | grep -o '\"step\":[0-9]*' | head -n 1 | cut -d: -f2)\" -ge 6 ]"
    is_up || fail "the container ended with the command"
}

detached_run() {
    make_data "$runner" run --rm "${on_volume[@]}" "${quiet[@]}" --entrypoint garden-init "$image"
    start_long_run detached
    "$runner" logs "$container" 2>&1 | tail -n 4
}

stopped() {
    local began=$SECONDS
    "$runner" stop "$container" >/dev/null
    echo "    stopped within $((SECONDS - began + 1)) s"
    "$runner" logs "$container" 2>&1 | grep -F 'Still saving' || true
    [ "$(state_of last)" = interrupted ] || fail "the run is not listed as interrupted"
    inside 'ls -d /data/runs/*-detached/checkpoints/step-*' || fail "there is no checkpoint"
    garden runs list 2>&1 | grep 'runs resume' || fail "resuming it is not offered"
    garden runs rm detached --yes 2>&1 | tail -n 1 # or the next part would resume it as well
    "$runner" rm --force "$container" >/dev/null
}

# Killed as by a lost machine, then started again as a restart policy does.
restarted() {
    make_data "$runner" run --rm "${on_volume[@]}" "${quiet[@]}" --entrypoint garden-init "$image"
    "$runner" run --detach --name "$container" "${on_volume[@]}" "${quiet[@]}" --restart on-failure \
        --env MODEL_GARDEN_RUNS_RESUME_INTERRUPTED=true "$image" \
        "${long_run[@]}" --dataset "$home/sample/sample.jsonl" --name again >/dev/null
    until_true 240 "no checkpoint" inside 'ls -d /data/runs/*-again/checkpoints/step-*'
    "$runner" kill --signal KILL "$container" >/dev/null
    local before
    before=$(step_of again)
    until_true 60 "the container does not end" sh -c "! [ \"\$($runner inspect --format '{{.State.Running}}' $container)\" = true ]" || true
    "$runner" start "$container" >/dev/null
    until_true 240 "it does not resume after step $before" sh -c "$runner logs $container 2>&1 | grep -q 'This container was started again'"
    "$runner" logs "$container" 2>&1 | grep -F 'This container was started again'
    until_true 240 "no step after $before" resumed_beyond "$before"
    [ "$(inside 'ls -d /data/runs/*-again* | wc -l')" = 1 ] || fail "a second run was started"
    echo "    killed at step $before, now at step $(step_of again)"
    "$runner" rm --force "$container" >/dev/null
}
resumed_beyond() { [ "$(step_of again)" -gt "$1" ]; }

dashboard() {
    terminal 'wait Runs' 'sleep 2' 'type q' end -- "$runner" run -it --rm "${on_volume[@]}" "${quiet[@]}" "$image"
    # Detach, attach, quit.
    terminal 'wait Runs' 'sleep 2' 'type \x1d' end -- "$runner" run -it --name "$container" --detach-keys 'ctrl-]' \
        "${on_volume[@]}" "${quiet[@]}" "$image"
    is_up || fail "the container ended when its terminal was detached"
    terminal 'sleep 2' 'type 2' 'wait Datasets' 'sleep 1' 'type q' end -- "$runner" attach --detach-keys 'ctrl-]' "$container"
    until_true 30 "the container does not end with the dashboard" sh -c "! [ \"\$($runner inspect --format '{{.State.Running}}' $container)\" = true ]"
    "$runner" rm --force "$container" >/dev/null
}

# --- target cloud

host=127.0.0.1
port=2222
in_net() { "$@"; }

cloud_start() {
    ssh-keygen -q -t ed25519 -N '' -f "$files/key"
    ssh-keygen -q -t ed25519 -N '' -f "$files/other"
    printf 'echo "$WORKSPACE" >/run/pre-start-ran\n' >"$files/pre.sh"
    printf 'test -e /run/pre-start-ran && grep -qx sshd /proc/[0-9]*/comm && echo "post-start ran"\n' >"$files/post.sh"
    local network=()
    if [ "$runner" = podman ] && [ "$(id -u)" = 0 ] && command -v ip >/dev/null; then
        ip netns add "$net"
        in_net() { nsenter --net="/run/netns/$net" "$@"; } # unlike `ip netns exec`, it leaves /sys as it is
        in_net ip link set lo up
        network=(--network host)
        port=22
    else
        network=(--publish "127.0.0.1:$port:22")
    fi
    in_net "$runner" run --detach --name "$container" "${network[@]}" "${quiet[@]}" --volume "$volume:/mnt/disk" \
        --env WORKSPACE=/mnt/disk --env HF_HUB_OFFLINE=1 --env "HF_TOKEN=hf_it's a \"token\"" \
        --env "PUBLIC_KEY=$(cat "$files/key.pub")" \
        --volume "$files/pre.sh:/pre_start.sh:ro" --volume "$files/post.sh:/post_start.sh:ro" "$image" >/dev/null
    until_true 60 "sshd does not listen" logs_say 'sshd listens on port 22 for 1 key'
    "$runner" logs "$container" 2>&1 | tail -n 3
    logs_say 'post-start ran' || fail "/post_start.sh did not run"
    ssh_options=(-p "$port" -F none -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o "UserKnownHostsFile=$files/known")
}
# Not `grep -q`, which ends at the first match: the program before it may then fail for its closed pipe, and so the whole.
logs_say() { "$runner" logs "$container" 2>&1 | grep -F "$1" >/dev/null; }

by_ssh() { in_net ssh -i "$files/key" "${ssh_options[@]}" "root@$host" "$@"; }

cloud_login() {
    [ "$(by_ssh 'echo "$HF_TOKEN|$MODEL_GARDEN_HOME|$PUBLIC_KEY"')" = "hf_it's a \"token\"|/mnt/disk/garden|" ] || fail "the environment is not handed on"
    by_ssh model-garden --version
    by_ssh model-garden train-vision --help >/dev/null
    ! in_net ssh -i "$files/other" "${ssh_options[@]}" "root@$host" true 2>/dev/null || fail "another key was let in"
    ! in_net ssh -o PubkeyAuthentication=no "${ssh_options[@]}" "root@$host" true 2>"$files/err" || fail "no key was needed"
    grep -F 'Permission denied (publickey)' "$files/err"
    [ "$("$runner" exec "$container" cat /run/pre-start-ran)" = /mnt/disk ] || fail "/pre_start.sh did not get WORKSPACE"
}

cloud_dashboard() {
    by_ssh 'model-garden demo --help >/dev/null && model-garden create-vision-dataset --help >/dev/null'
    in_net python3 docker/try_terminal.py 'wait Dashboard: model-garden' 'wait No run is active' 'type model-garden\r' 'wait Runs' \
        'sleep 2' 'type q' 'sleep 2' 'type exit\r' end -- ssh -tt -i "$files/key" "${ssh_options[@]}" "root@$host"
}

# A run that outlives its SSH session, is shown by the next login, and is saved by stop.
cloud_run() {
    home=/mnt/disk/garden
    make_data by_ssh
    by_ssh model-garden "${long_run[@]}" --dataset "$home/sample/sample.jsonl" --name far --detach
    until_true 240 "no step" sh -c "$runner exec $container sh -c 'grep -q \"\\\"step\\\"\" /mnt/disk/garden/runs/*-far/events.jsonl'"
    in_net python3 docker/try_terminal.py 'wait Active runs:' 'wait far  step' 'type exit\r' end -- \
        ssh -tt -i "$files/key" "${ssh_options[@]}" "root@$host"
    "$runner" stop "$container" >/dev/null
    in_net "$runner" start "$container" >/dev/null
    until_true 60 "sshd does not listen again" by_ssh true
    by_ssh model-garden runs list 2>&1 | grep interrupted
}

# Every TCP port, from inside its network; and every UDP socket that is bound.
cloud_ports() {
    local script='
import socket
open_ports = []
for port in range(1, 65536):
    with socket.socket() as probe:
        probe.settimeout(0.5)
        # A socket can meet itself where the system gives it the port that it tries.
        if probe.connect_ex(("127.0.0.1", port)) == 0 and probe.getsockname() != probe.getpeername():
            open_ports.append(port)
listening = set()
for name, state in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
    with open(f"/proc/net/{name}") as table:
        for line in list(table)[1:]:
            words = line.split()
            if words[3] == state:
                listening.add((name, int(words[1].rpartition(":")[2], 16)))
print("open TCP ports:", open_ports, "listening:", sorted(listening))
assert open_ports == [22] and listening == {("tcp", 22), ("tcp6", 22)}'
    in_net "$runner" exec "$container" python3 -c "$script"
}

cloud_without_key() {
    "$runner" rm --force "$container" >/dev/null
    "$runner" run --detach --name "$container" "${quiet[@]}" --env 'PUBLIC_KEY=-----BEGIN OPENSSH PRIVATE KEY-----' "$image" >/dev/null
    until_true 30 "nothing said" logs_say 'There is no key to log in with'
    "$runner" logs "$container" 2>&1 | tail -n 2
    is_up || fail "the container ended"
    "$runner" exec "$container" sh -c '! ls /run/garden/ssh_host_* 2>/dev/null && ! ls /etc/ssh/ssh_host_* 2>/dev/null' || fail "there are host keys"
    ! "$runner" exec "$container" sh -c 'grep -qx sshd /proc/[0-9]*/comm 2>/dev/null' || fail "sshd runs"
    "$runner" stop "$container" >/dev/null
}

layers() {
    "$runner" history --format '{{.Size}} {{.CreatedBy}}' "$image" | grep -E '^[0-9.]+ ?[MG]B' | cut -c1-100
    "$runner" image inspect --format 'image: {{.Size}} bytes' "$image"
    # What a change of our code downloads: the last layers, compressed as a registry keeps them.
    inside 'cd /opt/garden/lib/python3*/site-packages && tar -cz mg_tui model_garden_tui-*.dist-info | wc -c' |
        awk '{ printf "our own code, compressed: %.1f MiB\n", $1 / 1048576 }'
}

target=runtime
if "$runner" image inspect --format '{{.Config.Entrypoint}}' "$image" | grep garden-cloud >/dev/null; then target=cloud; fi

if [ $target = runtime ]; then
    part help "--help" garden --help
    part plugins "plugins" garden plugins
    part start "what a start says" start_lines
    part user "no privileges, any user id" unprivileged
    part read-only "read-only root" read_only
    part triton "what Triton and torch compile" triton
    part dashboard "the dashboard: quit, detach, attach" dashboard
    part stop "a detached run keeps the container alive" detached_run
    part stop "stop, with its default of 10 s, saves a checkpoint" stopped
    part restart "killed, started again, resumed" restarted
    part demo "demo, on a read-only root" demo
else
    part cloud "start with a key, hooks, WORKSPACE" cloud_start
    part cloud "log in with the key, with no other, and with the environment" cloud_login
    part cloud "the dashboard from there" cloud_dashboard
    part cloud "no other port is open" cloud_ports
    part cloud "a run outlives its session; stop and start" cloud_run
    part no-key "without a key nothing listens" cloud_without_key
fi
part layers "layers" layers
