#!/usr/bin/env bash
# Keeps proto/baseline.binpb, the contract as it was last published.
#   scripts/baseline.sh           takes the present contract as published; refuses a breaking one
#   scripts/baseline.sh --check   fails when the contract breaks the baseline, or has outgrown it
#
# The baseline is committed because a clone cannot know which commit was published last: comparing
# with a branch would compare a fresh clone with itself. It has to equal the contract, so that what
# one change adds is protected from the next. A change that adds something and alters it again
# before it is published restores the baseline first: git checkout origin/main proto/baseline.binpb
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly baseline=proto/baseline.binpb
readonly buf=clients/typescript/node_modules/.bin/buf

fresh=$(mktemp --suffix=.binpb)
trap 'rm -f "$fresh"' EXIT
# Without comments and positions: only a change of meaning changes the image.
"$buf" build proto --exclude-source-info --output "$fresh"

if [[ ${ACCEPT_BREAKING-} != 1 ]] && ! "$buf" breaking proto --against "$baseline"; then
    echo "baseline: the contract breaks its published form: add beside what is there instead." >&2
    exit 1
fi
if [[ ${1-} != --check ]]; then
    cat "$fresh" >"$baseline"
elif ! cmp --quiet "$fresh" "$baseline"; then
    echo "baseline: the contract has grown: run 'make baseline' and commit $baseline." >&2
    exit 1
fi
