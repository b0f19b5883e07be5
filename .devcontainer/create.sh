#!/usr/bin/env bash
# What the tests need, and the environment: run once when the development container is created.
set -euo pipefail
cd "$(dirname "$0")/.."

root=()
if [ "$(id -u)" != 0 ]; then root=(sudo); fi
"${root[@]}" chown -R "$(id -u)" "$HOME/.cache" 2>/dev/null || true # a new volume belongs to root
missing=()
for tool in tmux gcc strace; do command -v "$tool" >/dev/null || missing+=("$tool"); done
if [ ${#missing[@]} -gt 0 ]; then
    "${root[@]}" apt-get update -qq
    "${root[@]}" apt-get install -y -qq "${missing[@]}"
fi
command -v uv >/dev/null || pip install --quiet --user uv
PATH=$HOME/.local/bin:$PATH uv sync
