#!/usr/bin/env bash
# Lint what is not Python: the Dockerfile, every shell script (those in workflows as well), and the workflows.
#
#   uv run scripts/lint_scripts.sh
#
# hadolint, shellcheck and zizmor come with `uv sync`. actionlint's package downloads a program from GitHub when it is
# installed: it is used if ACTIONLINT names one or one is on the PATH, otherwise left out, which is said.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=()
check() { # what, command ...
    local what=$1
    shift
    "$@" || failed+=("$what")
}

mapfile -t scripts < <(git grep -lE '^#!.*\b(ba)?sh\b|^# shellcheck shell' -- . ':!*.py' ':!*.md')
check hadolint hadolint docker/Dockerfile
check shellcheck shellcheck "${scripts[@]}"
check zizmor zizmor --offline --no-progress --quiet .github
actionlint=${ACTIONLINT:-$(command -v actionlint || true)}
if [ -n "$actionlint" ]; then
    check actionlint "$actionlint"
else
    echo "lint_scripts.sh: actionlint is not here, so expressions and keys of the workflows are not checked" >&2
fi
if [ ${#failed[@]} -gt 0 ]; then
    echo "lint_scripts.sh: findings of ${failed[*]}" >&2
    exit 1
fi
