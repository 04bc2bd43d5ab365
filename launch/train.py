"""Training jobs, the same command on a laptop and on a pod.

    python -m launch.train --config=configs/NAME.py[:ARG] --workdir=DIR [--run_id=NAME] [--corpus=DIR] \
        [--set=steps=100] ... [--distributed=none|env|auto]

The config file's `get_config(ARG)` returns a typed config; its class decides which job runs. Everything of a
run lies in WORKDIR/RUN_ID: the same command goes on from its newest checkpoint, on any number of hosts and
devices; another configuration there is refused. Exit codes: 0 done, 2 bad input, 3 diverged, 75 stopped and
resumable.
"""

from __future__ import annotations

import importlib
import logging
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from absl import app, flags
from absl import logging as absl_logging

# No JAX here: a bad flag or folder is refused at once, the slow imports come after
from launch.load_config import load_config
from talkjax.config import (
    GeneralMappingConfig,
    GeneralRefinerConfig,
    PretrainConfig,
    ReconstructionConfig,
)
from talkjax.errors import InputError, TalkjaxError
from talkjax.train.folder import probe_folder

if TYPE_CHECKING:
    from talkjax.train.job import Job

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

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def make_job(config: PretrainConfig, corpus: str | None) -> Job:
    """What a config's class trains."""
    modules = {
        GeneralMappingConfig: "mapping_general",
        GeneralRefinerConfig: "refiner_general",
        ReconstructionConfig: "reconstruction",
    }
    if type(config) not in modules:
        raise InputError(f"no job trains a {type(config).__name__}", code="bad_config")
    try:
        module = importlib.import_module(f"launch.{modules[type(config)]}")
    except ModuleNotFoundError as error:
        if error.name not in ("grain", "tensorflow_datasets", "array_record"):
            raise
        raise InputError(
            f"{error.name} is not installed",
            expected="the extra `pretrain`",
            fix="pip install 'talkjax[pretrain]' --constraint constraints.txt",
            code="missing_extra",
        ) from None
    job: Job = module.make_job(config, corpus)
    return job


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
    except TalkjaxError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    import jax

    from talkjax.train import runtime
    from talkjax.train.pretrain import pretrain

    try:
        if HOST_DEVICES.value:
            jax.config.update("jax_num_cpu_devices", HOST_DEVICES.value)
        runtime.start_distributed(DISTRIBUTED.value, heartbeat_s=HEARTBEAT.value)
        pretrain(make_job(config, CORPUS.value), config, folder, [shlex.quote(word) for word in sys.argv])
    except BaseException as error:
        runtime.leave(error)


if __name__ == "__main__":
    app.run(main)
