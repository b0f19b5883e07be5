#!/usr/bin/env bash
# Build the image with docker, or with buildah where there is no docker. Anything after the options goes to the builder.
#
#   docker/build.sh
#   TARGET=cloud CUDA=cu12 docker/build.sh
#   TAG=garden:test BASE_IMAGE=registry.example/python:3.12 docker/build.sh --no-cache
#
# TARGET        runtime or cloud                        runtime
# CUDA          cu13 or cu12: what torch is built for   cu13
# BACKEND       unsloth, or empty                       empty
# TAG           name of the image                       model-garden-tui[-cloud]:CUDA[-BACKEND]
# BASE_IMAGE    any glibc image with apt and Python     the Dockerfile's own
# PYTHON        its Python, 3.11 to 3.13                python3
# REQUIREMENTS  a list of export_requirements.py        docker/requirements-CUDA[-BACKEND].txt
# TORCH_INDEX   index that torch comes from             the package index of the base image
# BUILDER       docker or buildah                       docker if its daemon answers, or buildah
set -euo pipefail
cd "$(dirname "$0")/.."

export TARGET=${TARGET:-runtime} CUDA=${CUDA:-cu13} BACKEND=${BACKEND:-}
name=model-garden-tui
if [ "$TARGET" != runtime ]; then name+=-$TARGET; fi
tag=${TAG:-$name:$CUDA${BACKEND:+-$BACKEND}}
builder=${BUILDER:-}
if [ -z "$builder" ] && docker info >/dev/null 2>&1 && docker buildx version >/dev/null 2>&1; then builder=docker; fi
if [ -z "$builder" ] && command -v buildah >/dev/null; then builder=buildah; fi

arguments=(
    --file docker/Dockerfile --target "$TARGET" --tag "$tag"
    --label "org.opencontainers.image.version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -n 1)"
    --label "org.opencontainers.image.revision=$(git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || echo unknown)"
)
for name in CUDA BACKEND BASE_IMAGE PYTHON REQUIREMENTS TORCH_INDEX; do
    if [ -n "${!name:-}" ]; then arguments+=(--build-arg "$name=${!name}"); fi
done

case $builder in
docker)
    DOCKER_BUILDKIT=1 docker build "${arguments[@]}" "$@" .
    ;;
buildah)
    # As root, chroot isolation also works where containers may not be nested; docker's format keeps every setting.
    if [ "$(id -u)" = 0 ]; then arguments+=(--isolation chroot); fi
    buildah bud --format docker --layers --force-rm "${arguments[@]}" "$@" .
    ;;
*)
    echo "build.sh: neither docker (with buildx and a running daemon) nor buildah is here; install one (Debian: apt-get install buildah podman)" >&2
    exit 3
    ;;
esac
