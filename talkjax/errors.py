"""Errors that a user can act on, and the process exit codes that go with them.

Every message is one line: what was expected, what was found, how to fix it.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_BUG = 1
EXIT_INPUT = 2  # bad input or configuration: retrying cannot help
EXIT_DIVERGED = 3  # training left the finite numbers
EXIT_RESUMABLE = 75  # stopped on purpose, everything saved: run the same command again
EXIT_INTERRUPTED = 130


class TalkjaxError(Exception):
    """Base of all errors that end a command with a one-line message.

    Attributes:
      exit_code: of the process.
      everywhere: all processes of a run raise it together, so each may leave in good order.
    """

    exit_code = EXIT_BUG
    everywhere = False


class InputError(TalkjaxError):
    """The user's file, flag or folder cannot be used.

    Args:
      problem: what was found, with the offending path or value.
      expected: what would have been accepted.
      fix: what to do about it.
      code: a short stable reason code for machines, e.g. `no_face`.
    """

    exit_code = EXIT_INPUT

    def __init__(self, problem: str, *, expected: str = "", fix: str = "", code: str = "bad_input"):
        self.problem, self.expected, self.fix, self.code = problem, expected, fix, code
        parts = [problem.rstrip(".")]
        if expected:
            parts.append(f"expected {expected.rstrip('.')}")
        if fix:
            parts.append(f"fix: {fix.rstrip('.')}")
        super().__init__("; ".join(parts))


class DivergedError(TalkjaxError):
    """Training produced NaN or infinity and cannot go on."""

    exit_code = EXIT_DIVERGED


class ResumableStop(TalkjaxError):
    """A signal asked the process to stop; progress is saved and the same command resumes."""

    exit_code = EXIT_RESUMABLE
