#!/usr/bin/env bash
# The dashboard on a machine of your own, or a rented one with docker and a driver (Lambda, bare metal): docs/hosts.md.
#
#   docker/hosts/bare.sh [COMMAND ...]        the dashboard when left out; run it in the folder with your data
#
# IMAGE   the image; the variant for the machine's driver when left out
# NAME    of the container and its volume                    garden
# DRY_RUN=1 prints the command instead of running it.
set -euo pipefail

name=${NAME:-garden}
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

command=(
    docker run -it --name "$name" --detach-keys 'ctrl-]' "${gpus[@]}" --shm-size 8g --read-only --tmpfs /tmp
    --restart on-failure --env MODEL_GARDEN_RUNS_RESUME_INTERRUPTED=true --env HF_TOKEN
    --volume "$name-data:/data" --volume "$PWD:/work" "$image" "$@"
)
if [ "${DRY_RUN:-}" = 1 ]; then
    printf '%q ' "${command[@]}"
    echo
else
    exec "${command[@]}"
fi
