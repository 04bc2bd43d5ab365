#!/usr/bin/env bash
# Runs a training job again as long as that can help, judged by its exit code.
#
#   bash launch/retry.sh [--max_crashes=10] [--backoff=5] [--max_backoff=300] [--dry_run] \
#        -- --config=configs/NAME.py --workdir=runs --run_id=first [more flags of launch.train]
#   bash launch/retry.sh -- bash launch/local.sh --processes=2 -- --config=...     # any command
#
#   0, 2, 3, 130      done, bad input, diverged, interrupted by a person: never again
#   75                stopped and saved: again, always
#   1, 134, 137, ...  a crash, a lost peer, killed: again, at most --max_crashes times, after a pause of
#                     --backoff seconds that doubles each time, up to --max_backoff
#
# SIGTERM and Ctrl-C are passed on, and then nothing is started again. Give --run_id: the same name goes on
# where the last try was saved. Exit code: that of the last try.
source "$(dirname "${BASH_SOURCE[0]}")/job.sh"
opt_max_crashes=10 opt_backoff=5 opt_max_backoff=300 opt_dry_run=""
parse_flags "max_crashes backoff max_backoff dry_run" "$@"
require_count max_crashes "$opt_max_crashes"
require_count backoff "$opt_backoff"
require_count max_backoff "$opt_max_backoff"
job_command
if [ -n "$opt_dry_run" ]; then
  echo "$(quoted "${COMMAND[@]}")   # again on 75; on a crash $opt_max_crashes times; never on 0, 2, 3, 130"
  exit 0
fi
source "$ROOT/launch/common.env"
cd "$ROOT"
child=""

# shellcheck disable=SC2329  # called by the traps
pass_on() {
  signals=$((signals + 1))
  [ -z "$child" ] || kill -s "$1" "$child" 2>/dev/null || true
}
trap 'pass_on TERM' TERM HUP
trap 'pass_on INT' INT

# run WORDS...: its exit code in `code`.
run() {
  set -m # a process group of its own: the terminal's Ctrl-C reaches it through us alone
  "$@" </dev/null &
  set +m
  child="$!"
  wait_for "$child"
  child=""
}

crashes=0
while :; do
  run "${COMMAND[@]}"
  last="$code"
  case "$last" in
    0 | 2 | 3 | 130) exit "$last" ;;
    75) pause=1 why="stopped and saved" ;;
    *)
      crashes=$((crashes + 1))
      if [ "$crashes" -gt "$opt_max_crashes" ]; then
        say "ended with $(ending "$last"), crash $crashes: more than --max_crashes=$opt_max_crashes, giving up"
        exit "$last"
      fi
      pause="$opt_backoff"
      for ((k = 1; k < crashes && pause < opt_max_backoff; k++)); do pause=$((2 * pause)); done
      [ "$pause" -le "$opt_max_backoff" ] || pause="$opt_max_backoff"
      why="crash $crashes of at most $opt_max_crashes"
      ;;
  esac
  [ "$signals" -eq 0 ] || exit "$last"
  say "ended with $(ending "$last") ($why): again in $pause s"
  run sleep "$pause"
  [ "$signals" -eq 0 ] || exit "$last"
done
