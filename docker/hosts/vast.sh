#!/usr/bin/env bash
# Rent an offer of Vast.ai with the cloud image and your SSH key: docs/hosts.md.
#
#   docker/hosts/vast.sh OFFER_ID [PUBLIC_KEY_FILE]
#
# IMAGE   the image         ghcr.io/OWNER/model-garden-tui:VERSION-cloud-cu13
# DISK    gigabytes         100
# DRY_RUN=1 prints the command instead of running it, which costs nothing.
set -euo pipefail

offer=${1:?usage: vast.sh OFFER_ID [PUBLIC_KEY_FILE]}
key_file=${2:-$HOME/.ssh/id_ed25519.pub}
image=${IMAGE:-ghcr.io/OWNER/model-garden-tui:VERSION-cloud-cu13}
if [ ! -r "$key_file" ]; then
    echo "vast.sh: $key_file cannot be read; create a key with ssh-keygen, or name its .pub file" >&2
    exit 2
fi
key=$(cat "$key_file")
if [[ $image == */OWNER/* ]] && [ "${DRY_RUN:-}" != 1 ]; then
    echo "vast.sh: name the image that Vast is to pull: IMAGE=ghcr.io/...:VERSION-cloud-cu13" >&2
    exit 2
fi

# `--args` keeps the image's own entry point, which starts sshd; Vast's SSH mode would replace it.
command=(
    vastai create instance "$offer" --image "$image" --disk "${DISK:-100}" --label model-garden
    --env "-p 22:22 -e PUBLIC_KEY='$key' -e WORKSPACE=/workspace -e MODEL_GARDEN_RUNS_RESUME_INTERRUPTED=true" --args
)
if [ "${DRY_RUN:-}" = 1 ]; then
    printf '%q ' "${command[@]}"
    echo
else
    exec "${command[@]}"
fi
