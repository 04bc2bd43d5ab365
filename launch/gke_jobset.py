"""Renders launch/gke_jobset.yaml.in: a training run as a JobSet of Google Kubernetes Engine.

    python -m launch.gke_jobset --name=first --image=IMAGE --topology=2x4 --accelerator=tpu-v5-lite-podslice \
        -- --config=configs/NAME.py --workdir=/mnt/runs --run_id=first
    python -m launch.gke_jobset ... --apply -- ...        # also gives it to `kubectl apply -f -`

Prints the YAML. The claim (ReadWriteMany) is mounted at /work in every pod: --workdir and --corpus lie there.
The image holds this project at /talkjax and a `python` with its extras tpu and pretrain.
"""

from __future__ import annotations

import json
import re
import string
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from absl import app, flags

from talkjax.errors import EXIT_INPUT, InputError, TalkjaxError

HERE = Path(__file__).parent
_SPOT_LINES = """\
                cloud.google.com/gke-spot: "true"
              tolerations:
                - key: cloud.google.com/gke-spot
                  operator: Equal
                  value: "true"
                  effect: NoSchedule"""


class JobSet(NamedTuple):
    """What the template asks for."""

    name: str
    image: str
    command: list[str]
    topology: str = "2x4"
    accelerator: str = "tpu-v5-lite-podslice"
    chips_per_host: int = 4
    claim: str = "talkjax-work"
    max_restarts: int = 100
    spot: bool = False


def common_environment(text: str) -> dict[str, str]:
    """Variables of launch/common.env with their defaults; a container has no home but /tmp."""
    found = re.findall(r'^export (\w+)="\$\{\1:-([^}]*)\}"$', text, re.MULTILINE)
    return {name: value.replace("$HOME", "/tmp") for name, value in found}


def render(job: JobSet) -> str:
    """The YAML.

    Raises:
      InputError: a name, image or topology that Kubernetes would refuse, or no command.
    """
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,38}[a-z0-9]", job.name or ""):
        expected = "2 to 40 small letters, digits and -"
        raise InputError(f"--name={job.name} is no name for a JobSet", expected=expected, code="usage")
    for flag, value in (("image", job.image), ("accelerator", job.accelerator), ("claim", job.claim)):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*", value or ""):
            raise InputError(f"--{flag}={value} cannot be used", expected=f"--{flag}=NAME", code="usage")
    if not re.fullmatch(r"\d+x\d+(x\d+)?", job.topology):
        raise InputError(f"--topology={job.topology}", expected="chips, as 2x4 or 2x4x4", code="usage")
    if not job.command:
        raise InputError("nothing to run", expected="-- and the flags of launch.train", code="usage")
    chips = 1
    for side in job.topology.split("x"):
        chips *= int(side)
    if chips % job.chips_per_host:
        raise InputError(
            f"{chips} chips ({job.topology}) do not divide over hosts of {job.chips_per_host}",
            expected="--chips_per_host as the machine type has them (ct5lp-hightpu-4t: 4)",
            code="usage",
        )
    environment = common_environment((HERE / "common.env").read_text())
    # JSON is YAML: no quoting of our own, and a name like `on` stays text
    fields = {name: json.dumps(value) for name, value in job._asdict().items()} | {
        "hosts": chips // job.chips_per_host,
        "spot": _SPOT_LINES if job.spot else "",
        "env": json.dumps([{"name": name, "value": value} for name, value in environment.items()]),
    }
    text = string.Template((HERE / "gke_jobset.yaml.in").read_text()).substitute(fields)
    return "\n".join(line for line in text.splitlines() if line.strip()) + "\n"


def main(argv: list[str]) -> None:
    try:
        words = argv[1:]
        trains = bool(words) and words[0].startswith("-")
        command = ["python", "-m", "launch.train", *words, "--distributed=auto"] if trains else words
        given = {name: flags.FLAGS[name].value for name in JobSet._fields if name != "command"}
        job = JobSet(command=command, **given)
        text = render(job)
        print(text, end="")
        if flags.FLAGS.apply and not flags.FLAGS.dry_run:
            done = subprocess.run(["kubectl", "apply", "-f", "-"], input=text, text=True, check=False)
            sys.exit(done.returncode)
    except FileNotFoundError:
        print("kubectl is not installed, or not on PATH", file=sys.stderr)
        sys.exit(EXIT_INPUT)
    except TalkjaxError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


def define_flags() -> None:
    """Apart from the import: several mains use the same names."""
    flags.DEFINE_string("name", None, "of the JobSet: small letters, digits and -, at most 40")
    flags.DEFINE_string("image", None, "container image, with its tag")
    flags.DEFINE_string("accelerator", "tpu-v5-lite-podslice", "label of the node pool")
    flags.DEFINE_string("topology", "2x4", "of the slice, in chips")
    flags.DEFINE_integer("chips_per_host", 4, "as the machine type has them", lower_bound=1)
    flags.DEFINE_string("claim", "talkjax-work", "persistent volume claim, seen by all hosts")
    flags.DEFINE_integer("max_restarts", 100, "of all pods together, for any reason", lower_bound=0)
    flags.DEFINE_bool("spot", False, "nodes that may be taken away")
    flags.DEFINE_bool("apply", False, "give the YAML to kubectl")
    flags.DEFINE_bool("dry_run", False, "print the YAML and do nothing (wins over --apply)")


if __name__ == "__main__":
    define_flags()
    app.run(main)
