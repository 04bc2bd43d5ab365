#!/usr/bin/env bash
# Environment, face models, demo: leaves a video and a report to look at in demo_output/.
#
#   bash launch/demo.sh [flags of `talkjax demo`]
#
# No root is needed; everything stays in this folder (.venv, demo_output) and the user's cache.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$ROOT"
ensure_env ""
fetch_assets
exec "$VENV/bin/talkjax" demo "$@"
