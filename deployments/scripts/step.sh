#!/usr/bin/env bash
# step.sh [--bar] WORDS COMMAND…: says what is done, and every nine seconds that it still is. A command with a bar of its
# own (--bar) is left alone in a terminal.
set -uo pipefail
bar=
if [ "$1" = --bar ]; then bar=1; shift; fi
words=$1; shift
echo "[$words]" >&2
if [ -n "$bar" ] && [ -t 2 ]; then exec "$@"; fi
# The sleep must not hold our caller's pipes open once we are gone.
(while sleep "${BEAT_SECONDS:-9}" >/dev/null 2>&1; do echo "[$words] ${SECONDS} s" >&2; done) &
beat=$!
trap 'kill "$beat" 2>/dev/null' EXIT
"$@"
