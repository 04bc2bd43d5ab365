"""Training jobs: `python -m launch.train --config=configs/NAME.py --workdir=DIR [--set=steps=100] ...`.

The config file's `get_config()` returns a typed config; its class decides which job runs. Checkpoints in the
work folder make every job resumable: the same command goes on, another configuration there is refused.
"""

from __future__ import annotations

import dataclasses
import logging
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import app, flags
from absl import logging as absl_logging

import talkjax  # noqa: F401  (before JAX: sets its flags)
from launch import mapping_general
from talkjax.config import Config, GeneralMappingConfig, field_type
from talkjax.errors import InputError, TalkjaxError

CONFIG = flags.DEFINE_string("config", None, "Python file with get_config()", required=True)
WORKDIR = flags.DEFINE_string("workdir", None, "folder of checkpoints, weights and report", required=True)
CORPUS = flags.DEFINE_string("corpus", None, "folder of a speech corpus (see launch/build_corpus.py)")
SET = flags.DEFINE_multi_string("set", [], "setting=value; replaces one setting of the config, repeatable")

JOBS: dict[type[Config], Callable[..., Any]] = {GeneralMappingConfig: mapping_general.run}


def load_config(path: str, settings: list[str]) -> Config:
    """The config of a file, with `name=value` replacements of the right types."""
    if not Path(path).is_file():
        raise InputError(f"--config={path} is no file", expected="one of configs/*.py", code="bad_config")
    config = runpy.run_path(path)["get_config"]()
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


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    absl_logging.set_verbosity(absl_logging.WARNING)  # the checkpoint library tells much
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout, force=True)
    try:
        config = load_config(CONFIG.value, SET.value)
        JOBS[type(config)](config, Path(WORKDIR.value), CORPUS.value)
    except TalkjaxError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    app.run(main)
