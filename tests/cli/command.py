"""The command as a person meets it: a line, its exit code, what it says."""

from __future__ import annotations

import shlex

from talkjax import errors
from talkjax.cli import main


def run(capsys, line: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command line without its first word."""
    code = main.run(shlex.split(line))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys, line: str, *texts: str) -> None:
    """The line ends with exit code 2 and one line on stderr that holds all texts."""
    code, out, err = run(capsys, line)
    assert code == errors.EXIT_INPUT and out == ""
    assert err.startswith("talkjax: ") and err.count("\n") == 1, err
    for text in texts:
        assert text in err
