#!/usr/bin/env bash
# One training run as several processes on this machine, the way a pod runs it. When one dies, all end.
#
#   bash launch/local.sh [--processes=2] [--devices=1] [--logs=DIR] [--port=N] [--grace=10] [--dry_run] \
#        -- --config=configs/NAME.py --workdir=runs --run_id=first [more flags of launch.train]
#
#   --processes  how many processes (hosts of a pod)
#   --devices    simulated CPU devices of each
#   --logs       one log a process, rank_0.log ...; default WORKDIR/logs/RUN_ID. Rank 0 also shows here.
#   --port       of the coordinator; default: a free one
#   --grace      seconds that the others have to end by themselves once one has failed
#   --dry_run    print the commands and do nothing
#
# The first SIGTERM or Ctrl-C is passed on (the run saves and ends with 75 or 130), so is the second; the third
# kills. Exit code: that of the first process that did not end with 0. Simulated devices share this machine's
# cores: they show that the program is right, not how fast it is.
source "$(dirname "${BASH_SOURCE[0]}")/job.sh"
opt_processes=2 opt_devices=1 opt_logs="" opt_port="" opt_grace=10 opt_dry_run=""
parse_flags "processes devices logs port grace dry_run" "$@"
require_count processes "$opt_processes"
require_count devices "$opt_devices"
require_count grace "$opt_grace"
job_command
n="$opt_processes"
cd "$ROOT" # relative paths are those of the project's folder, as for the other wrappers
if [ "${REST[0]#-}" != "${REST[0]}" ]; then # launch.train: tell it what it runs on
  COMMAND+=(--distributed=env "--host_devices=$opt_devices")
fi
logs="${opt_logs:-$(job_flag workdir)}"
[ -n "$opt_logs" ] || logs="${logs:-.}/logs/$(job_flag run_id)"
logs="${logs%/}"

# environment of process $1
rank_environment() {
  printf '%s\n' "TALKJAX_COORDINATOR=127.0.0.1:$port" "TALKJAX_NUM_PROCESSES=$n" "TALKJAX_PROCESS_ID=$1" \
    JAX_PLATFORMS="${JAX_PLATFORMS:-cpu}"
}

if [ -n "$opt_dry_run" ]; then
  port="${opt_port:-FREE_PORT}"
  for ((k = 0; k < n; k++)); do
    echo "$(rank_environment "$k" | tr '\n' ' ')$(quoted "${COMMAND[@]}") >>$(quoted "$logs/rank_$k.log") 2>&1"
  done
  exit 0
fi

mkdir -p "$logs" 2>/dev/null || fail "the folder of the logs, $logs, cannot be made; fix: --logs=DIR"
port="${opt_port:-$("$(job_python)" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')}"
source "$ROOT/launch/common.env"
pids=() codes=() asked=0 asked_with=""

# shellcheck disable=SC2329  # these two are called by the traps
# kill_all: everything that still runs, with its children.
kill_all() {
  local k
  for ((k = 0; k < ${#pids[@]}; k++)); do
    [ -n "${codes[k]:-}" ] || kill -s KILL -- "-${pids[k]}" 2>/dev/null || true
  done
}

# shellcheck disable=SC2329
# pass_on SIGNAL: to the processes themselves, not to their helpers, which must live until the run has saved.
pass_on() {
  local k
  asked=$((asked + 1)) asked_with="$1"
  if [ "$asked" -gt 2 ]; then kill_all; fi
  for ((k = 0; k < ${#pids[@]}; k++)); do
    [ -n "${codes[k]:-}" ] || kill -s "$1" "${pids[k]}" 2>/dev/null || true
  done
}
trap 'pass_on TERM' TERM HUP
trap 'pass_on INT' INT
trap kill_all EXIT

set -m # every process leads a group of its own: Ctrl-C reaches it through us alone, its children end with it
for ((k = 0; k < n; k++)); do
  log="$logs/rank_$k.log"
  echo "== $(date '+%F %T') $(quoted "${COMMAND[@]}")" >>"$log"
  mapfile -t variables < <(rank_environment "$k")
  if [ "$k" -eq 0 ]; then
    env "${variables[@]}" "${COMMAND[@]}" </dev/null > >(trap '' INT TERM HUP; exec tee -a "$log") 2>&1 &
  else
    env "${variables[@]}" "${COMMAND[@]}" </dev/null >>"$log" 2>&1 &
  fi
  pids+=("$!")
done
set +m
[ "$asked" -eq 0 ] || pass_on "$asked_with" # it came while some were not there yet
say "$n processes with $opt_devices devices each; logs in $logs"

exec 3>&2 2>/dev/null # bash itself would tell of every process that is killed
result=0 left="$n" failed_at="" killed=""
while [ "$left" -gt 0 ]; do
  sleep 0.2 || true # a signal may end it
  for ((k = 0; k < n; k++)); do
    if [ -n "${codes[k]:-}" ] || kill -0 "${pids[k]}" 2>/dev/null; then continue; fi
    code=0
    wait "${pids[k]}" || code=$?
    codes[k]="$code" left=$((left - 1))
    [ "$result" -ne 0 ] || result="$code"
    case "$code$killed" in
      0 | 75 | 130 | *killed) ;;
      *)
        say "rank $k of $n ended with $(ending "$code"); the end of $logs/rank_$k.log:" 2>&3
        tail -n 5 "$logs/rank_$k.log" >&3
        failed_at="${failed_at:-$SECONDS}"
        ;;
    esac
  done
  if [ -n "$failed_at" ] && [ -z "$killed" ] && [ "$left" -gt 0 ] && [ $((SECONDS - failed_at)) -ge "$opt_grace" ]; then
    say "$left of $n still run $opt_grace s later: killed" 2>&3
    killed=killed
    kill_all
  fi
done
say "all processes ended: $(ending "$result")" 2>&3
exit "$result"
