"""A verb as a value: its flags, its help page and its parsed arguments.

Flags are absl's, one `FlagValues` per verb, so that a flag means nothing outside its verb. Every field of
the verb's config (`talkjax/config.py`) is a flag of the same name.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from absl import flags

from talkjax.config import Config, field_type
from talkjax.errors import InputError

HELP_FLAGS = ("--help", "-help", "-h")


@dataclass(frozen=True)
class Flag:
    """One flag; `default_text` is shown in the help page where the default is decided by the program."""

    name: str
    kind: type
    default: Any
    help: str
    group: str = "files"
    placeholder: str = ""
    default_text: str = ""
    choices: tuple[str, ...] = ()
    required: bool = False


@dataclass(frozen=True)
class Arguments:
    """Parsed command line of a verb."""

    positional: dict[str, str]
    values: dict[str, Any]
    config: Any

    def __getitem__(self, name: str) -> Any:
        return self.positional[name] if name in self.positional else self.values[name]


@dataclass(frozen=True)
class Command:
    """A verb.

    Attributes:
      name: as typed, e.g. `prepare` or `identity list`.
      summary: one line for the list of verbs.
      example: a complete command line.
      run: does the work, returns the process exit code.
      positional: name -> help; all are required.
      flags: the verb's own flags, beside those of its config.
      config: config class whose fields are flags too.
      config_defaults: values that replace the config's own defaults in this verb.
      notes: further help text.
    """

    name: str
    summary: str
    example: str
    run: Callable[[Arguments], int]
    positional: dict[str, str] = dataclasses.field(default_factory=dict)
    flags: tuple[Flag, ...] = ()
    config: type[Config] | None = None
    config_defaults: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: str = ""

    def all_flags(self) -> tuple[Flag, ...]:
        """Own flags, the config's and the common ones."""
        return (*self.flags, *_config_flags(self.config, self.config_defaults), *COMMON_FLAGS)

    def parse(self, words: Sequence[str]) -> Arguments:
        """Parses what follows the verb; InputError for anything unknown, missing or out of range."""
        values = _define(self.all_flags())
        try:
            rest = values(["talkjax", *words])[1:]
        except flags.Error as error:
            raise _usage_error(" ".join(str(error).split()), self.name) from None
        missing = [name.upper() for name in list(self.positional)[len(rest) :]]
        missing += [f"--{flag.name}" for flag in self.flags if flag.required and not values[flag.name].value]
        if missing:
            raise _usage_error(f"talkjax {self.name} needs {' and '.join(missing)}", self.name)
        if extra := rest[len(self.positional) :]:
            raise _usage_error(f"unexpected argument {extra[0]!r}", self.name)
        parsed = {flag.name: values[flag.name].value for flag in self.all_flags()}
        config = None
        if self.config is not None:
            names = [field.name for field in dataclasses.fields(self.config)]
            config = self.config(**{name: parsed[name] for name in names}).validate()
        return Arguments(dict(zip(self.positional, rest, strict=True)), parsed, config)

    def help_page(self) -> str:
        """The text of `talkjax VERB --help`."""
        required = "".join(f" --{f.name}={f.placeholder or 'VALUE'}" for f in self.flags if f.required)
        usage = (
            f"talkjax {self.name}{''.join(f' {name.upper()}' for name in self.positional)}{required} [flags]"
        )
        lines = [self.summary[0].upper() + self.summary[1:] + ".", "", f"usage:    {usage}"]
        lines += [f"example:  {self.example}", ""]
        if self.notes:
            lines += [*textwrap.wrap(self.notes, 100), ""]
        lines += [_two_columns(name.upper(), text) for name, text in self.positional.items()]
        groups: dict[str, list[Flag]] = {}
        for flag in self.all_flags():
            groups.setdefault(flag.group, []).append(flag)
        for group, members in groups.items():
            lines += ["", f"{group}:"] if lines[-1] else [f"{group}:"]
            lines += [_two_columns(_spelling(flag), _explanation(flag)) for flag in members]
        return "\n".join(lines)


IDENTITIES_DIR = Flag(
    "identities_dir",
    str,
    None,
    "folder of all identities",
    placeholder="DIR",
    default_text="$TALKJAX_IDENTITIES, else ./identities",
)
IDENTITY = Flag("identity", str, None, "name of the identity", placeholder="NAME", required=True)

COMMON_FLAGS = (
    Flag(
        "assets_dir",
        str,
        None,
        "folder of the face models",
        group="common",
        placeholder="DIR",
        default_text="$TALKJAX_ASSETS, else the user's cache",
    ),
    Flag("progress", bool, None, "draw progress bars", group="common", default_text="on a terminal"),
    Flag("debug", bool, False, "show the traceback of an error", group="common"),
)


def _config_flags(config: type[Config] | None, defaults: dict[str, Any]) -> tuple[Flag, ...]:
    if config is None:
        return ()
    return tuple(
        Flag(
            field.name,
            field_type(config, field.name),
            defaults.get(field.name, field.default),
            field.metadata["help"],
            group=field.metadata["group"],
            choices=field.metadata["choices"],
        )
        for field in dataclasses.fields(config)
    )


def _define(all_flags: Sequence[Flag]) -> flags.FlagValues:
    values = flags.FlagValues()
    values.set_gnu_getopt(True)  # flags may stand before and after the file names
    for flag in all_flags:
        options: dict[str, Any] = {"flag_values": values, "module_name": "talkjax"}
        if flag.choices:
            flags.DEFINE_enum(flag.name, flag.default, flag.choices, flag.help, **options)
        elif flag.kind is bool:
            flags.DEFINE_bool(flag.name, flag.default, flag.help, **options)
        elif flag.kind is int:
            flags.DEFINE_integer(flag.name, flag.default, flag.help, **options)
        elif flag.kind is float:
            flags.DEFINE_float(flag.name, flag.default, flag.help, **options)
        else:
            flags.DEFINE_string(flag.name, flag.default, flag.help, **options)
    return values


def _usage_error(problem: str, name: str) -> InputError:
    return InputError(problem, fix=f"see talkjax {name} --help", code="usage")


def _spelling(flag: Flag) -> str:
    if flag.kind is bool:
        return f"--[no]{flag.name}"
    kinds = {int: "N", float: "X", str: "TEXT"}
    return f"--{flag.name}={'|'.join(flag.choices) or flag.placeholder or kinds[flag.kind]}"


def _explanation(flag: Flag) -> str:
    if flag.required:
        return f"{flag.help} (required)"
    default = flag.default_text or ("" if flag.default is None else str(flag.default).lower())
    return f"{flag.help} (default: {default})" if default else flag.help


def _two_columns(left: str, right: str) -> str:
    wrapped = textwrap.wrap(right, 74) or [""]
    first = f"  {left:<26}{wrapped[0]}" if len(left) < 26 else f"  {left}\n{'':28}{wrapped[0]}"
    return "\n".join([first, *(f"{'':28}{line}" for line in wrapped[1:])])
