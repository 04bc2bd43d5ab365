"""Config files: `configs/NAME.py` or `configs/NAME.py:ARG`, with settings replaced from the command line."""

from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path
from typing import Any

from talkjax.config import PretrainConfig, field_type
from talkjax.errors import InputError


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
