#!/usr/bin/env bash
# The dashboard on a machine of your own, or a rented one with docker and a driver (Lambda, bare metal): docs/hosts.md.
#
#   docker/hosts/bare.sh [COMMAND ...]        the dashboard when left out; run it in the folder with your data
#
# Again while the container is up: another dashboard, or another command, in the same container.
#
# IMAGE   the image; the variant for the machine's driver when left out
# NAME    of the container                                   garden
# DATA    where runs are stored: a volume or a folder        the volume NAME-data
# DRY_RUN=1 prints the command instead of running it.
set -euo pipefail

name=${NAME:-garden}
keys=(--detach-keys 'ctrl-]')
terminal=(--interactive)
if [ -t 0 ] && [ -t 1 ]; then terminal+=(--tty); fi

run() {
    if [ "${DRY_RUN:-}" = 1 ]; then
        printf '%q ' "$@"
        echo
    else
        exec "$@"
    fi
}

case $(docker container inspect --format '{{.State.Running}}' "$name" 2>/dev/null || true) in
true)
    run docker exec "${terminal[@]}" "${keys[@]}" "$name" model-garden "$@"
    exit
    ;;
false)
    if [ $# = 0 ]; then
        run docker start --attach --interactive "${keys[@]}" "$name"
        exit
    fi
    echo "bare.sh: the container $name has ended; \`docker rm $name\` makes room for another (runs are in its volume)" >&2
    exit 2
    ;;
esac

driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -n 1 | cut -d. -f1 || true)
gpus=(--gpus all)
if [ -z "$driver" ]; then
    echo "bare.sh: nvidia-smi finds no GPU; the container is started without one" >&2
    gpus=(--env NVIDIA_VISIBLE_DEVICES=void)
    driver=580
fi
variant=cu13
if [ "$driver" -lt 580 ]; then variant=cu12; fi
image=${IMAGE:-ghcr.io/OWNER/model-garden-tui:VERSION-$variant}

run docker run "${terminal[@]}" --name "$name" "${keys[@]}" "${gpus[@]}" --shm-size 8g --read-only --tmpfs /tmp \
    --restart on-failure --env MODEL_GARDEN_RUNS_RESUME_INTERRUPTED=true --env HF_TOKEN \
    --volume "${DATA:-$name-data}:/data" --volume "$PWD:/work" "$image" "$@"
