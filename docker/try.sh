#!/usr/bin/env bash
# Smoke test of the built image: run it as a user would; prints the seconds of each part.
#
#   docker/try.sh [IMAGE]          model-garden-tui when left out
#   RUNNER=podman docker/try.sh    docker or podman; the first that is there when left out
#
# It needs no GPU and no network, and leaves nothing behind.
# shellcheck disable=SC2016  # what is single-quoted is expanded inside the container
set -euo pipefail

image=${1:-model-garden-tui}
runner=${RUNNER:-}
for candidate in docker podman; do
    if [ -z "$runner" ] && command -v "$candidate" >/dev/null; then runner=$candidate; fi
done
if [ -z "$runner" ]; then
    echo "try.sh: neither docker nor podman is installed" >&2
    exit 3
fi

volume=garden-try-$$
container=garden-try-$$
doing=start
tidy() {
    [ $? = 0 ] || echo "FAILED: $doing" >&2
    "$runner" rm --force "$container" >/dev/null 2>&1 || true
    "$runner" volume rm --force "$volume" >/dev/null 2>&1 || true
}
trap tidy EXIT

fail() {
    echo "$*" >&2
    exit 1
}

garden() {
    "$runner" run --rm --volume "$volume:/data" --env HF_HUB_OFFLINE=1 "$image" "$@"
}

inside() {
    "$runner" run --rm --volume "$volume:/data" --entrypoint bash "$image" -c "$1"
}

part() { # title, command ...
    local began=$EPOCHREALTIME
    doing=$1
    shift
    echo "--- $doing"
    "$@"
    awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "    %.1f s\n", b - a }'
}

last_state() { garden runs show last --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["state"])'; }

unprivileged() {
    [ "$(inside 'id -u')" != 0 ] || fail "the image runs as root"
    inside '! touch /opt/garden/new 2>/dev/null' || fail "the installation is writable"
    "$runner" run --rm --user 4321:4321 --volume "$volume:/data" --entrypoint bash "$image" \
        -c 'touch /data/of-4321 /work/of-4321 && mkdir -p "$HOME/.cache" && rm /data/of-4321 && model-garden plugins'
}

demo() {
    garden demo --no-dashboard
    inside 'set -e; run=$(ls -d /data/runs/*-demo); ls "$run"; test -s "$run/events.jsonl"; test "$(stat -c %u "$run")" = 1000'
    [ "$(last_state)" = finished ] || fail "the run is not listed as finished"
}

# A long run on the demo's data. The container must outlive the command that started it.
start_long_run() {
    "$runner" run --detach --name "$container" --volume "$volume:/data" --env HF_HUB_OFFLINE=1 "$image" \
        train-vision --base-model tiny --dataset "$1" --name long --epochs 1000 --detach >/dev/null
    local tries=0
    until garden runs show long --json 2>/dev/null | grep -q '"step": *[1-9]'; do
        sleep 2
        tries=$((tries + 1))
        [ $tries -lt 90 ] || fail "the detached run completed no step"
    done
    [ "$("$runner" inspect --format '{{.State.Running}}' "$container")" = true ] || fail "the container ended with the command"
    "$runner" logs "$container" 2>&1 | tail -n 4
}

stop_long_run() {
    "$runner" stop --time 120 "$container" >/dev/null
    [ "$(last_state)" = interrupted ] || fail "the run is not listed as interrupted"
    inside 'ls -d /data/runs/*-long/checkpoints/step-*' || fail "there is no checkpoint"
    garden runs list 2>&1 | grep -q 'runs resume' || fail "resuming it is not offered"
}

part "--help" garden --help
part "plugins" garden plugins
part "no privileges, any user id" unprivileged
part "demo" demo
data=$(inside 'ls /data/demo/seed-0/train*.jsonl | head -n 1')
part "a detached run keeps the container alive" start_long_run "$data"
part "stop saves a checkpoint" stop_long_run
"$runner" image inspect --format "image: {{.Size}} bytes" "$image"
