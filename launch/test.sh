#!/usr/bin/env bash
# Environment and the tests (.ci/run adds those marked faults, sharded and long, which take minutes).
#
#   bash launch/test.sh [pytest arguments]
#
# Tests that need the face models or a real clip say which file is missing when they skip.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$ROOT"
ensure_env "dev"
fetch_assets || say "going on without the face models: the tests that need them will skip"
# One worker per core, as far as memory allows (each compiles programs: about 3 GiB).
workers="$("$VENV/bin/python" - <<'PY'
import os
cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
try:
    with open("/proc/meminfo") as f:
        free = next(int(line.split()[1]) for line in f if line.startswith("MemAvailable")) / 2**20
except (OSError, StopIteration):
    free = 8.0
print(max(1, min(cores, int(free / 3), 4)))
PY
)"
if [ "$workers" -gt 1 ]; then
  # in the order of tests/conftest.py: xdist's own puts the files with the longest tests last
  exec "$VENV/bin/python" -m pytest -n "$workers" --dist loadfile --no-loadscope-reorder "$@"
fi
exec "$VENV/bin/python" -m pytest "$@"
