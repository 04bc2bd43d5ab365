# Sourced by the other scripts: finds Python, keeps an environment in .venv, fetches the face models.
#
# Environment (all optional):
#   PYTHON           interpreter to make .venv with (3.11, 3.12 or 3.13)
#   TALKJAX_EXTRAS   extra dependencies, e.g. cuda or tpu (see pyproject.toml)
#   TALKJAX_ASSETS   folder of the face models
# shellcheck shell=bash
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"

say() { printf '== %s\n' "$*" >&2; }

fail() {
  printf '%s\n' "$@" >&2
  exit 2
}

# Whether "$1" runs and is a Python that talkjax supports.
python_fits() {
  "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

# Prints every usable interpreter, one per line; $PYTHON alone if it is set.
find_pythons() {
  local candidate
  if [ -n "${PYTHON:-}" ]; then
    python_fits "$PYTHON" || fail "PYTHON=$PYTHON is not a working Python 3.11, 3.12 or 3.13."
    printf '%s\n' "$PYTHON"
    return
  fi
  for candidate in python3.13 python3.12 python3.11 python3 python; do
    if command -v "$candidate" >/dev/null 2>&1 && python_fits "$candidate"; then
      printf '%s\n' "$candidate"
    fi
  done
}

# Makes $VENV with the first interpreter that can; some systems' Python comes without venv or ensurepip.
make_venv() {
  local pythons python
  pythons="$(find_pythons)" || exit $?
  if [ -z "$pythons" ]; then
    fail "No Python 3.11, 3.12 or 3.13 was found." \
      "Install one (without root: conda or uv do it), or name it: PYTHON=/path/to/python3.12 bash $0"
  fi
  while IFS= read -r python; do
    rm -rf "$VENV"
    if "$python" -m venv "$VENV" >/dev/null 2>&1 && "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
      return
    fi
    rm -rf "$VENV"
    if "$python" -m virtualenv --quiet "$VENV" >/dev/null 2>&1; then
      return
    fi
    rm -rf "$VENV"
  done <<<"$pythons"
  # shellcheck disable=SC2086,SC2116
  fail "Found $(echo $pythons), but none can make an environment: the venv module or ensurepip is missing." \
    "Debian and Ubuntu: apt install python3-venv (as root), or without root: python3 -m pip install --user virtualenv" \
    "Another Python can be named: PYTHON=/path/to/python3.12 bash $0"
}

# Prints what the installed environment depends on, as one digest: files, Python, extras, place.
fingerprint() {
  "$VENV/bin/python" - "$ROOT" "$1" <<'PY'
import hashlib, pathlib, platform, sys
root = pathlib.Path(sys.argv[1])
digest = hashlib.sha256()
for part in (*sys.argv[1:], platform.python_version(), platform.machine()):
    digest.update(part.encode() + b"\0")
for name in ("pyproject.toml", "constraints.txt"):
    digest.update((root / name).read_bytes() + b"\0")
print(digest.hexdigest())
PY
}

# Makes or reuses .venv with talkjax and the extras in $1 (e.g. "dev"); does nothing when it is up to date.
ensure_env() {
  local extras="$1" stamp
  if [ -n "${TALKJAX_EXTRAS:-}" ]; then
    extras="${extras:+$extras,}$TALKJAX_EXTRAS"
  fi
  if ! { python_fits "$VENV/bin/python" && "$VENV/bin/python" -m pip --version >/dev/null 2>&1; }; then
    say "making the environment $VENV"
    make_venv
  fi
  for installed in "$extras" "${extras:+$extras,}dev"; do # an environment for the tests can do all else too
    stamp="$VENV/.talkjax-${installed:-core}"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint "$installed")" ]; then
      return
    fi
  done
  say "installing talkjax${extras:+ with $extras} (a few minutes the first time)"
  rm -f "$VENV"/.talkjax-*
  if ! "$VENV/bin/python" -m pip install --disable-pip-version-check --no-input \
    --editable "$ROOT${extras:+[$extras]}" --constraint "$ROOT/constraints.txt"; then
    fail "" "The installation did not finish; its last lines above say why." \
      "Offline? It needs the package index once, or a folder with the wheels. On a machine that is online, with" \
      "the same system and Python:" \
      "  pip download --dest wheels --constraint constraints.txt \".${extras:+[$extras]}\" 'setuptools>=77' wheel" \
      "then copy the folder here and run:" \
      "  PIP_NO_INDEX=1 PIP_FIND_LINKS=/path/to/wheels bash $0"
  fi
  fingerprint "$extras" >"$VENV/.talkjax-${extras:-core}"
}

# Fetches the face models unless they are at hand; talkjax itself says what is missing and where it may lie.
fetch_assets() {
  "$VENV/bin/talkjax" assets fetch >/dev/null
}
