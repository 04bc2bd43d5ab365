# Sourced by the wrappers of training jobs: flags, the command that they wrap, how it is shown.
# shellcheck shell=bash
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# usage FILE: the comment at the top of a script, as its help page.
usage() {
  sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p;}' "$1"
}

# parse_flags "name name ..." WORDS...: sets opt_NAME for every --NAME=VALUE (or --NAME: yes), REST after `--`.
parse_flags() {
  local known=" $1" name value
  shift
  REST=()
  while [ $# -gt 0 ]; do
    case "$1" in
      --) shift && REST=("$@") && break ;;
      --help | -h) usage "$0" && exit 0 ;;
      --*=*) name="${1%%=*}" value="${1#*=}" ;;
      --*) name="$1" value=yes ;;
      *) fail "unexpected argument '$1'; expected flags, then -- and the flags of launch.train (see --help)" ;;
    esac
    name="${name#--}"
    case "$known " in
      *" $name "*) printf -v "opt_$name" '%s' "$value" ;;
      *) fail "unknown flag --$name; expected one of${known// / --}; launch.train's come after --" ;;
    esac
    shift
  done
}

# require_count NAME VALUE: a whole number of at least 1.
require_count() {
  case "$2" in
    '' | *[!0-9]* | 0*) fail "--$1=$2; expected a whole number of at least 1" ;;
  esac
}

# The interpreter that runs the training: $TALKJAX_PYTHON, else .venv's, else python3.
job_python() {
  if [ -n "${TALKJAX_PYTHON:-}" ]; then
    printf '%s\n' "$TALKJAX_PYTHON"
  elif [ -x "$VENV/bin/python" ]; then
    printf '%s\n' "$VENV/bin/python"
  else
    printf 'python3\n'
  fi
}

# Sets COMMAND from REST: flags alone belong to launch.train, anything else is a command of its own.
job_command() {
  [ ${#REST[@]} -gt 0 ] || fail "nothing to run; expected -- and the flags of launch.train (see --help)"
  case "${REST[0]}" in
    -*) COMMAND=("$(job_python)" -m launch.train "${REST[@]}") ;;
    *) COMMAND=("${REST[@]}") ;;
  esac
}

# job_flag NAME: the value of --NAME=VALUE among the words of COMMAND, or nothing.
job_flag() {
  local word
  for word in "${COMMAND[@]}"; do
    case "$word" in "--$1="*) printf '%s\n' "${word#*=}" ;; esac
  done
}

# quoted WORDS...: as one line that a shell reads back as the same words.
quoted() {
  local text
  text="$(printf '%q ' "$@")"
  printf '%s\n' "${text% }"
}

# ending CODE: what an exit code means.
ending() {
  case "$1" in
    0) echo "done" ;;
    2) echo "2: bad input or setting" ;;
    3) echo "3: diverged" ;;
    75) echo "75: stopped and saved" ;;
    130) echo "130: interrupted and saved" ;;
    *) if [ "$1" -gt 128 ]; then echo "$1: signal $(kill -l "$(($1 - 128))")"; else echo "$1"; fi ;;
  esac
}

signals=0 # how many the script's traps have seen

# wait_for PID: its exit code in `code`. A signal interrupts `wait`, not what it waits for: then wait again.
wait_for() {
  local before interrupted=""
  while :; do
    before="$signals" code=0
    wait "$1" || code=$?
    if [ "$code" -eq 127 ] && [ -n "$interrupted" ]; then code="$interrupted"; fi
    [ "$signals" -ne "$before" ] || break
    interrupted="$code"
  done
}
