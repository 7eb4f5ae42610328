#!/usr/bin/env bash
# make_venv.sh PYTHON [chosen]: makes .venv anew with PYTHON, which must be 3.11; where it is not to be had, with uv, which
# downloads one. Nothing is touched before an interpreter is found. A PYTHON that the user has `chosen` is taken or refused.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$1 chosen=${2:-}

refuse() {
  echo "error: $1" >&2
  exit 2
}

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || version=
if [ "$version" = 3.11 ] && "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  exec "$python" -m venv --clear .venv
fi

if [ -n "$chosen" ]; then
  [ -n "$version" ] || refuse "PYTHON=$python does not start; name Python 3.11: make PYTHON=/path/to/python3.11"
  [ "$version" = 3.11 ] || refuse "PYTHON=$python is Python $version; name Python 3.11: make PYTHON=/path/to/python3.11"
  refuse "PYTHON=$python has no venv module; Debian and Ubuntu: sudo apt install python3.11-venv"
fi

if command -v uv >/dev/null; then
  rm -rf .venv
  exec uv venv --quiet --seed --python 3.11 .venv
fi

[ "$version" != 3.11 ] || refuse "$python has no venv module; Debian and Ubuntu: sudo apt install python3.11-venv"
if [ "$(uname -s)" = Darwin ]; then bring="brew install uv"; else bring="curl -LsSf https://astral.sh/uv/install.sh | sh"; fi
refuse "neither Python 3.11 nor uv is on PATH. This brings uv, and uv brings Python (docs.astral.sh/uv):
  $bring
Then, in a new shell, the same make again. An interpreter elsewhere is named with: make PYTHON=/path/to/python3.11"
