#!/usr/bin/env bash
# The dashboard on a machine of your own, or a rented one with docker and a driver (Lambda, bare metal): docs/hosts.md.
#
#   docker/hosts/bare.sh [COMMAND ...]        the dashboard when left out; run it in the folder with your data
#
# Again, without a command: the container that is there is opened in another dashboard, or started if it has ended.
#
# IMAGE   the image; when left out, the one that docker/build.sh made here for the machine's driver
# NAME    of the container                                   garden
# DATA    where runs are stored: a volume or a folder        the volume NAME-data
# DRY_RUN=1 prints the command instead of running it.
set -euo pipefail

name=${NAME:-garden}
data=${DATA:-$name-data}
driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -n 1 | cut -d. -f1 || true)
gpus=(--gpus all)
if [ -z "$driver" ]; then
    echo "bare.sh: nvidia-smi finds no GPU; the container is started without one" >&2
    gpus=(--env NVIDIA_VISIBLE_DEVICES=void)
    driver=580
fi
variant=cu13
if [ "$driver" -lt 580 ]; then variant=cu12; fi
image=${IMAGE:-model-garden-tui:$variant}

command=(
    docker run -it --name "$name" --detach-keys 'ctrl-]' "${gpus[@]}" --shm-size 8g --read-only --tmpfs /tmp
    --restart on-failure --env MODEL_GARDEN_RUNS_RESUME_INTERRUPTED=true --env HF_TOKEN
    --volume "$data:/data" --volume "$PWD:/work" "$image" "$@"
)
there=$(docker inspect --type container --format '{{.State.Running}}' "$name" 2>/dev/null || true)
if [ -n "$there" ] && [ $# -gt 0 ]; then
    echo "bare.sh: there is a container $name, whose command is fixed; its runs are in $data:" >&2
    echo "  docker stop -t 180 $name; docker rm $name      then this command again" >&2
    echo "  docker exec -it $name model-garden $*      beside what it does, if it is up" >&2
    exit 2
elif [ "$there" = true ]; then
    command=(docker exec -it --detach-keys 'ctrl-]' "$name" model-garden)
elif [ -n "$there" ]; then
    command=(docker start -ai --detach-keys 'ctrl-]' "$name")
elif [ -z "${IMAGE:-}" ] && [ "${DRY_RUN:-}" != 1 ] && ! docker image inspect "$image" >/dev/null 2>&1; then
    echo "bare.sh: $image is not here: build it (CUDA=$variant docker/build.sh), or name a published one in IMAGE" >&2
    exit 2
fi
if [ "${DRY_RUN:-}" = 1 ]; then
    printf '%q ' "${command[@]}"
    echo
else
    exec "${command[@]}"
fi
