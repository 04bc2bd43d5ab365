#!/usr/bin/env bash
# A Cloud TPU slice from creation to deletion, the same on every host of it (--worker=all). Needs gcloud.
#
#   bash launch/tpu_vm.sh create --name=NAME --zone=ZONE [--type=v5litepod-8] [--version=RUNTIME] [--spot]
#   bash launch/tpu_vm.sh setup  --name=NAME --zone=ZONE [--nfs=SERVER:/SHARE]   # code, .venv, shared folder
#   bash launch/tpu_vm.sh run    --name=NAME --zone=ZONE -- --config=configs/NAME.py --workdir=DIR --run_id=first
#   bash launch/tpu_vm.sh logs   --name=NAME --zone=ZONE [--worker=0] [--lines=50]
#   bash launch/tpu_vm.sh stop   --name=NAME --zone=ZONE    # saves; `run` with the same flags goes on
#   bash launch/tpu_vm.sh delete --name=NAME --zone=ZONE    # the slice and its disks; what it costs ends here
#
#   --project   of gcloud; default: gcloud's own
#   --version   runtime; default: by type (v2-alpha-tpuv5-lite, v2-alpha-tpuv5, v2-alpha-tpuv6e)
#   --spot      cheaper, may be taken away at any time; the run then goes on after create, setup, run
#   --nfs       setup mounts it at /mnt/talkjax: --workdir must be a folder that all hosts share
#   --dry_run   print the gcloud commands and do nothing
#
# `setup` sends the commit that is checked out, nothing uncommitted. `run` returns at once; the job goes on under
# launch/retry.sh on every host: a lost host ends all, all start again and meet. A slice costs from creation to
# deletion, whether it trains or not.
source "$(dirname "${BASH_SOURCE[0]}")/job.sh"
VERBS="create setup run logs stop delete"
verb="${1:-}"
case " $VERBS --help -h " in
  *" $verb "*) ;;
  *) fail "verb '$verb' is unknown; expected one of: $VERBS" ;;
esac
case "$verb" in -*) usage "$0" && exit 0 ;; esac
shift
opt_name="" opt_zone="" opt_type=v5litepod-8 opt_version="" opt_project="" opt_spot="" opt_nfs=""
opt_worker=all opt_lines=50 opt_dry_run=""
parse_flags "name zone type version project spot nfs worker lines dry_run" "$@"
[ -n "$opt_name" ] || fail "--name is missing; expected --name=NAME of the slice"
[ -n "$opt_zone" ] || fail "--zone is missing; expected --zone=ZONE, for instance us-west4-a"
case "$opt_name" in *[!a-z0-9-]* | [!a-z]*) fail "--name=$opt_name; expected small letters, digits and -" ;; esac
require_count lines "$opt_lines"
WHERE=("--zone=$opt_zone")
[ -z "$opt_project" ] || WHERE+=("--project=$opt_project")
PLACE=talkjax # folder in the home of every host

# tpu VERB WORDS...: one gcloud command, or its print.
tpu() {
  local words=(gcloud compute tpus tpu-vm "$@")
  if [ -n "$opt_dry_run" ]; then quoted "${words[@]}"; else "${words[@]}"; fi
}

# on_hosts WORKERS SCRIPT: a script in the home folder of hosts.
on_hosts() {
  tpu ssh "$opt_name" "${WHERE[@]}" "--worker=$1" "--command=$2"
}

create() {
  local version="$opt_version"
  if [ -z "$version" ]; then
    case "$opt_type" in
      v5litepod-*) version=v2-alpha-tpuv5-lite ;;
      v5p-*) version=v2-alpha-tpuv5 ;;
      v6e-*) version=v2-alpha-tpuv6e ;;
      *) fail "--type=$opt_type has no known runtime; expected --version=RUNTIME (gcloud compute tpus versions list)" ;;
    esac
  fi
  # shellcheck disable=SC2086
  tpu create "$opt_name" "${WHERE[@]}" "--accelerator-type=$opt_type" "--version=$version" ${opt_spot:+--spot}
}

setup() {
  local archive=/tmp/talkjax-source.tar.gz
  if [ -n "$opt_dry_run" ]; then
    quoted git -C "$ROOT" archive --format=tar.gz "--output=$archive" HEAD
  else
    git -C "$ROOT" archive --format=tar.gz "--output=$archive" HEAD ||
      fail "setup sends a commit, and $ROOT is no git checkout"
  fi
  tpu scp "$archive" "$opt_name:talkjax-source.tar.gz" "${WHERE[@]}" --worker=all
  on_hosts all "set -e; mkdir -p $PLACE; tar -xzf talkjax-source.tar.gz -C $PLACE; cd $PLACE; source launch/common.sh; ensure_env pretrain,tpu"
  if [ -n "$opt_nfs" ]; then
    on_hosts all "set -e; sudo apt-get install -y nfs-common; sudo mkdir -p /mnt/talkjax; mountpoint -q /mnt/talkjax || sudo mount -t nfs $(quoted "$opt_nfs") /mnt/talkjax; sudo chmod 1777 /mnt/talkjax"
  fi
}

run() {
  [ ${#REST[@]} -gt 0 ] || fail "nothing to run; expected -- and the flags of launch.train"
  local flags
  flags="$(quoted "${REST[@]}" --distributed=auto)"
  # setsid: the job outlives this connection. The process id is what `stop` signals and a second `run` looks at.
  on_hosts all "set -e; cd $PLACE; if [ -f job.pid ] && kill -0 \$(cat job.pid) 2>/dev/null; then echo a job runs already, stop it first >&2; exit 2; fi; setsid nohup bash launch/retry.sh -- $flags >>job.log 2>&1 </dev/null & echo \$! >job.pid"
}

case "$verb" in
  create) create ;;
  setup) setup ;;
  run) run ;;
  logs) on_hosts "$opt_worker" "tail -n $opt_lines $PLACE/job.log" ;;
  stop) on_hosts all "kill -TERM \$(cat $PLACE/job.pid)" ;;
  delete) tpu delete "$opt_name" "${WHERE[@]}" --quiet ;;
esac
