"""`talkjax runs show`: the state of training runs, from their folders."""

from __future__ import annotations

import json
from pathlib import Path

from talkjax.cli.command import Arguments, Command, Flag
from talkjax.errors import EXIT_OK, InputError


def _show(arguments: Arguments) -> int:
    from talkjax.train import run_report, run_state

    folders = run_state.find_runs(Path(arguments["workdir"]), arguments["run_id"])
    runs = [run_state.read_run(folder, verify=arguments["verify"]) for folder in folders]
    if arguments["plot"]:
        out = Path(arguments["plot"])
        if out.suffix.lower() != ".png":
            raise InputError(f"--plot={out} is no .png file", fix="--plot=losses.png", code="usage")
        run_report.plot_losses(runs, out, arguments["metric"])
    if arguments["json"]:
        print(json.dumps([run.to_json() for run in runs], indent=2))
    else:
        print("\n\n".join(run_report.report(run) for run in runs))
        if arguments["plot"]:
            print(f"\nwrote {arguments['plot']}")
    return EXIT_OK


RUNS_SHOW = Command(
    "runs show",
    "training runs: state, losses, speed, checkpoints, where to go on",
    "talkjax runs show runs --run_id=first --verify",
    _show,
    positional={"workdir": "the --workdir of launch.train, or the folder of one run"},
    flags=(
        Flag("run_id", str, None, "only this run", placeholder="NAME", default_text="all"),
        Flag("verify", bool, False, "read every checkpoint and compare its digests", group="checks"),
        Flag("json", bool, False, "print JSON for machines", group="output"),
        Flag("plot", str, None, "draw the loss curves of the runs into FILE.png", "output", "FILE.png"),
        Flag("metric", str, "loss", "which metric --plot draws", group="output", placeholder="NAME"),
    ),
    notes="Only reads: safe beside a run that is going on, and on what a killed one left.",
)
