"""Training jobs, the same command on a laptop and on a pod.

    python -m launch.train --config=configs/NAME.py[:ARG] --workdir=DIR [--run_id=NAME] [--corpus=DIR] \
        [--set=steps=100] ... [--distributed=none|env|auto]

The config file's `get_config(ARG)` returns a typed config; its class decides which job runs. Everything of a
run lies in WORKDIR/RUN_ID: the same command goes on from its newest checkpoint, on any number of hosts and
devices; another configuration there is refused. Exit codes: 0 done, 2 bad input, 3 diverged, 75 stopped and
resumable.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import runpy
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import app, flags
from absl import logging as absl_logging

import talkjax  # noqa: F401  (before JAX: sets its flags)

# isort: split
import jax

from launch import mapping_general, refiner_general
from talkjax.config import Config, GeneralMappingConfig, GeneralRefinerConfig, PretrainConfig, field_type
from talkjax.errors import InputError
from talkjax.train.pretrain import Job, pretrain
from talkjax.train.runtime import leave, probe_folder, start_distributed

CONFIG = flags.DEFINE_string("config", None, "Python file with get_config(), FILE or FILE:ARG", required=True)
WORKDIR = flags.DEFINE_string("workdir", None, "folder of runs, shared by all hosts", required=True)
RUN_ID = flags.DEFINE_string("run_id", None, "name of the run; none: the config file's")
CORPUS = flags.DEFINE_string("corpus", None, "folder of the corpus (docs/corpus.md)")
SET = flags.DEFINE_multi_string("set", [], "setting=value; replaces one setting of the config, repeatable")
DISTRIBUTED = flags.DEFINE_enum(
    "distributed",
    "none",
    ["none", "env", "auto"],
    "none: one process; env: TALKJAX_COORDINATOR, _NUM_PROCESSES, _PROCESS_ID; auto: SLURM, TPU, GKE",
)
HOST_DEVICES = flags.DEFINE_integer("host_devices", None, "simulated CPU devices per process")
HEARTBEAT = flags.DEFINE_integer(
    "heartbeat_seconds", 30, "a silent host is dead after so long", lower_bound=1
)

JOBS: dict[type[Config], Callable[[Any, str | None], Job]] = {
    GeneralMappingConfig: mapping_general.make_job,
    GeneralRefinerConfig: refiner_general.make_job,
}
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def load_config(path: str, settings: list[str]) -> PretrainConfig:
    """The config of a file, with `name=value` replacements of the right types."""
    path, _, argument = path.partition(":")
    if not Path(path).is_file():
        raise InputError(f"--config={path} is no file", expected="one of configs/*.py", code="bad_config")
    get_config = runpy.run_path(path)["get_config"]
    try:
        config = get_config(argument) if argument else get_config()
    except TypeError as error:
        raise InputError(f"--config={path}:{argument} ({error})", code="bad_config") from None
    changed: dict[str, Any] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in {field.name for field in dataclasses.fields(config)}:
            known = ", ".join(field.name for field in dataclasses.fields(config))
            raise InputError(f"--set={setting} names no setting", expected=known, code="bad_config")
        try:
            changed[name] = field_type(type(config), name)(value)
        except ValueError:
            kind = field_type(type(config), name).__name__
            raise InputError(
                f"--set={setting}", expected=f"a value of type {kind}", code="bad_config"
            ) from None
    return dataclasses.replace(config, **changed).validate()


def run_folder() -> Path:
    """WORKDIR/RUN_ID.

    Raises:
      InputError: the run's name is no plain name.
    """
    name = RUN_ID.value or Path(CONFIG.value.partition(":")[0]).stem
    if not _RUN_ID.fullmatch(name):
        raise InputError(
            f"--run_id={name}", expected="letters, digits and . _ -, at most 64", code="bad_run_id"
        )
    return Path(WORKDIR.value) / name


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    absl_logging.set_verbosity(absl_logging.WARNING)  # the checkpoint library tells much
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stdout, force=True
    )
    logging.getLogger("talkjax").setLevel(logging.INFO)
    try:
        config = load_config(CONFIG.value, SET.value)
        folder = run_folder()
        probe_folder(folder)
        if HOST_DEVICES.value:
            jax.config.update("jax_num_cpu_devices", HOST_DEVICES.value)
        start_distributed(DISTRIBUTED.value, heartbeat_s=HEARTBEAT.value)
        job = JOBS[type(config)](config, CORPUS.value)
        pretrain(job, config, folder, [shlex.quote(word) for word in sys.argv])
    except BaseException as error:
        leave(error)


if __name__ == "__main__":
    app.run(main)
