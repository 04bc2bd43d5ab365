"""The `talkjax` command: finds the verb, runs it, and turns every ending into an exit code."""

from __future__ import annotations

import difflib
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from types import FrameType

from talkjax import __version__
from talkjax.cli.command import HELP_FLAGS, Command
from talkjax.cli.demo import DEMO
from talkjax.cli.motion import MOTION_GENERATE, MOTION_PLOT
from talkjax.cli.runs import RUNS_SHOW
from talkjax.cli.store import (
    ASSETS_CONVERT,
    ASSETS_FETCH,
    ASSETS_LIST,
    IDENTITY_DELETE,
    IDENTITY_LIST,
    IDENTITY_SHOW,
)
from talkjax.cli.track import TRACK
from talkjax.cli.verbs import DOCTOR, EVALUATE, EXPORT, FINETUNE, GENERATE, PREPARE
from talkjax.errors import EXIT_BUG, EXIT_INTERRUPTED, EXIT_OK, InputError, ResumableStop, TalkjaxError

COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        DOCTOR,
        PREPARE,
        FINETUNE,
        GENERATE,
        EVALUATE,
        EXPORT,
        TRACK,
        MOTION_GENERATE,
        MOTION_PLOT,
        IDENTITY_LIST,
        IDENTITY_SHOW,
        IDENTITY_DELETE,
        RUNS_SHOW,
        DEMO,
        ASSETS_LIST,
        ASSETS_FETCH,
        ASSETS_CONVERT,
    )
}


def run(argv: Sequence[str] | None = None) -> int:
    """Runs one command line and returns the process exit code (`talkjax.errors`).

    Args:
      argv: words after the program name; default `sys.argv[1:]`.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    # Many small systems are solved per clip; a second BLAS thread costs more than it saves. Read when
    # numpy is first imported, which has not happened yet.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    restore = _stop_on_sigterm()
    try:
        code = _dispatch(words)
        sys.stdout.flush()  # a closed pipe shows here, not at exit where Python would complain
        return code
    except TalkjaxError as error:
        if debug:
            traceback.print_exc()
        _complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        if debug:
            traceback.print_exc()
        _complain("interrupted; finished stages are kept, the same command goes on from there")
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `talkjax ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except Exception as error:
        _complain(_report_bug(error, debug))
        return EXIT_BUG
    finally:
        restore()


def _dispatch(words: list[str]) -> int:
    if words and words[0] == "help":
        words = [*words[1:], "--help"]
    if words and words[0] == "--version":
        print(f"talkjax {__version__}")
        return EXIT_OK
    if not words or words[0] in HELP_FLAGS:
        print(overview())
        return EXIT_OK
    command, rest = _find(words)
    if command is None:
        print(overview(words[0]))
        return EXIT_OK
    if any(word in HELP_FLAGS for word in rest):
        print(command.help_page())
        return EXIT_OK
    return command.run(command.parse(rest))


def _find(words: list[str]) -> tuple[Command | None, list[str]]:
    """The command that the words begin with; None for the help page of a group (`identity --help`)."""
    for length in (2, 1):
        if command := COMMANDS.get(" ".join(words[:length])):
            return command, words[length:]
    group = [name for name in COMMANDS if name.startswith(f"{words[0]} ")]
    if group and (len(words) == 1 or words[1] in HELP_FLAGS):
        return None, []
    typed = " ".join(words[:2]) if group else words[0]
    near = difflib.get_close_matches(typed, list(COMMANDS), n=1, cutoff=0.5)
    raise InputError(
        f"unknown verb {typed!r}" + (f", did you mean {near[0]!r}?" if near else ""),
        fix="see talkjax --help",
        code="usage",
    )


def overview(group: str = "") -> str:
    """The text of `talkjax --help`, or of `talkjax GROUP --help`."""
    commands = [c for name, c in COMMANDS.items() if not group or name.startswith(f"{group} ")]
    lines = [
        "talkjax: a video of a person and a voice in, that person speaking those words out.",
        "",
        "usage: talkjax VERB [flags]      talkjax VERB --help shows the flags of a verb",
        "",
        *(f"  {command.name:<18}{command.summary}" for command in commands),
    ]
    if not group:
        lines += [
            "",
            "two files in, a video out:",
            "  talkjax prepare  clip.mp4 --identity=me",
            "  talkjax finetune --identity=me",
            "  talkjax generate --identity=me --audio=voice.wav --out=me.mp4",
            "",
            "exit codes: 0 done, 2 bad input, 3 diverged, 75 stopped and resumable, 130 interrupted, 1 bug",
        ]
    return "\n".join(lines)


def _complain(text: str) -> None:
    line = " ".join(text.split()).encode("utf-8", "backslashreplace").decode("utf-8")
    print(f"talkjax: {line}", file=sys.stderr)


def _report_bug(error: Exception, debug: bool) -> str:
    """Shows the traceback, or keeps it in a file; returns the one-line message."""
    message = f"internal error: {type(error).__name__}: {error}"
    if debug:
        traceback.print_exc()
        return message
    with tempfile.NamedTemporaryFile(
        "w", prefix="talkjax-error-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
    ) as f:
        f.write(f"talkjax {__version__}, Python {sys.version}\n")
        traceback.print_exc(file=f)
    return f"{message}; this is a bug in talkjax, the traceback is in {f.name} (or run again with --debug)"


def _stop_on_sigterm() -> Callable[[], object]:
    """Makes the first SIGTERM a `ResumableStop` (exit 75); a second one ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    before = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise ResumableStop("stopped by a signal; finished stages are kept, run the same command to go on")

    signal.signal(signal.SIGTERM, stop)
    return lambda: signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(run())
