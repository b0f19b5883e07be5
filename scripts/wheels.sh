#!/usr/bin/env bash
# Build the wheels of the project and of every plugin, and try them as a newcomer would.
#
#   scripts/wheels.sh build [FOLDER]     into FOLDER, dist when left out
#   scripts/wheels.sh try [FOLDER]       install them into an empty environment, run the demo; and run them by uvx
#
# Versions of dependencies are those that uv finds: set UV_CONSTRAINT to a file with others.
set -euo pipefail
cd "$(dirname "$0")/.."

dist=${2:-dist}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -n 1)

build() {
    rm -rf "$dist"
    for package in . plugins/*/; do uv build --quiet --wheel --out-dir "$dist" "$package"; done
    rm -f "$dist/.gitignore"
    ls -l "$dist"
}

try() {
    local folder
    folder=$(mktemp -d)
    # shellcheck disable=SC2064  # the folder's name is fixed now
    trap "rm -rf '$folder'" EXIT
    dist=$(realpath "$dist")
    uv venv --quiet "$folder/environment"
    uv pip install --quiet --python "$folder/environment" --find-links "$dist" "model-garden-tui==$version"
    cd "$folder" # away from the sources
    export HF_HUB_OFFLINE=1 MODEL_GARDEN_HOME="$folder/home"
    environment/bin/model-garden plugins
    environment/bin/model-garden demo --no-dashboard
    environment/bin/python -c 'import sys, mg_tui; assert mg_tui.__file__.startswith(sys.prefix), mg_tui.__file__'
    # Python of the environment above, whose torch uv links from its cache.
    uvx --python "$folder/environment/bin/python" --find-links "$dist" "model-garden-tui@$version" plugins
}

case ${1:-} in
build | try) "$1" ;;
*)
    echo "usage: scripts/wheels.sh build|try [FOLDER]" >&2
    exit 2
    ;;
esac
