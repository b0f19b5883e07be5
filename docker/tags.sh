#!/usr/bin/env bash
# Names of an image in a registry, as `name=value` lines for a workflow's outputs.
#
#   TARGET=cloud CUDA=cu13 BACKEND= docker/tags.sh ghcr.io/OWNER/model-garden-tui
#
# A tag `vX.Y.Z` gives X.Y.Z-SUFFIX, any other commit edge-SUFFIX; SUFFIX is [cloud-]CUDA[-BACKEND]. The plain X.Y.Z is the
# unprivileged image for CUDA 13. There is no `latest`: an update is asked for by its version.
# GITHUB_REF and GITHUB_SHA say what is built; without them the working copy of git.
set -euo pipefail
cd "$(dirname "$0")/.."

image=${1:?usage: tags.sh IMAGE}
image=${image,,} # registries want lower case
target=${TARGET:-runtime} cuda=${CUDA:-cu13} backend=${BACKEND:-}
sha=${GITHUB_SHA:-$(git rev-parse HEAD)}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -n 1)

case $target in
runtime) suffix=$cuda ;;
cloud) suffix=cloud-$cuda ;;
*)
    echo "tags.sh: TARGET is $target and has to be runtime or cloud" >&2
    exit 2
    ;;
esac
suffix+=${backend:+-$backend}

case ${GITHUB_REF:-} in
refs/tags/v*)
    release=${GITHUB_REF#refs/tags/v}
    if [ "$release" != "$version" ]; then
        echo "tags.sh: the tag says $release and pyproject.toml $version" >&2
        exit 2
    fi
    tags=$release-$suffix
    if [ "$suffix" = cu13 ]; then tags+=" $release"; fi
    ;;
*) tags=edge-$suffix ;;
esac

printf '%s\n' "image=$image" "suffix=$suffix" "version=$version" "tags=$tags" \
    "staging=$image:sha-${sha:0:12}-$suffix" "cache=$image:cache-$suffix"
