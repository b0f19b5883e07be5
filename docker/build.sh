#!/usr/bin/env bash
# Build the image with docker, or with buildah where there is no docker. Anything after the options goes to the builder.
#
#   docker/build.sh
#   TAG=garden:test BASE_IMAGE=registry.example/python:3.12 docker/build.sh --no-cache
#   REQUIREMENTS=docker/requirements-wandb.txt docker/build.sh
#
# TAG           name of the image                      model-garden-tui
# BASE_IMAGE    any glibc image with Python 3.11-3.13  the Dockerfile's own
# REQUIREMENTS  a list of export_requirements.py       docker/requirements.txt
# BUILDER       docker or buildah                      the first that is there
set -euo pipefail
cd "$(dirname "$0")/.."

tag=${TAG:-model-garden-tui}
builder=${BUILDER:-}
for candidate in docker buildah; do
    if [ -z "$builder" ] && command -v "$candidate" >/dev/null; then builder=$candidate; fi
done

arguments=(
    --file docker/Dockerfile --tag "$tag"
    --label "org.opencontainers.image.version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -n 1)"
    --label "org.opencontainers.image.revision=$(git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || echo unknown)"
)
for name in BASE_IMAGE REQUIREMENTS; do
    if [ -n "${!name:-}" ]; then arguments+=(--build-arg "$name=${!name}"); fi
done

case $builder in
docker)
    DOCKER_BUILDKIT=1 docker build "${arguments[@]}" "$@" .
    ;;
buildah)
    # As root, chroot isolation also works where containers may not be nested; docker's format keeps every setting.
    if [ "$(id -u)" = 0 ]; then arguments+=(--isolation chroot); fi
    buildah bud --format docker --layers "${arguments[@]}" "$@" .
    ;;
*)
    echo "build.sh: neither docker nor buildah is installed; install one (Debian: apt-get install buildah podman)" >&2
    exit 3
    ;;
esac
