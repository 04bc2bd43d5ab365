"""The motion track: what head and eyes do in every frame, as a value and as a small readable CSV file.

The file can be exported (`generate --motion_out=FILE`), edited by hand or in a spreadsheet, plotted, and fed
back (`--pose=track:FILE`). Rows may be left out: a few rows are key frames, and the head moves smoothly
between them. docs/motion.md has the format.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math

import numpy as np
from jaxtyping import Float, Int
from scipy.interpolate import PchipInterpolator

from talkjax.config import FPS
from talkjax.errors import InputError

ANGLES = ("pitch", "yaw", "roll")
SHIFTS = ("tx", "ty", "tz")
GAZE = ("gaze_x", "gaze_y")
DIGITS = {**dict.fromkeys(ANGLES, 4), **dict.fromkeys(SHIFTS, 5), "lid": 4, **dict.fromkeys(GAZE, 5)}
"""Decimals in the file: 0.0001 degree, 0.00001 dm, ...; reading gives exactly what the file states."""

LIMITS = {
    **dict.fromkeys(ANGLES, (-60.0, 60.0)),
    "tx": (-20.0, 20.0),
    "ty": (-20.0, 20.0),
    "tz": (-60.0, 8.0),  # the camera stands at 10
    "lid": (0.0, 1.2),
    **dict.fromkeys(GAZE, (-0.5, 0.5)),
}
MAX_FRAMES = 3600 * int(FPS)

COMMENTS = (
    "talkjax motion track, version 1; 25 frames per second",
    "pitch, yaw, roll: degrees. pitch > 0 lowers the chin, yaw > 0 turns the face to image right,",
    "roll > 0 tips its top to image left; head = Rz(roll) Ry(yaw) Rx(pitch), then tx, ty, tz",
    "tx, ty, tz: decimetres to image right, up, and toward the camera (which stands at z = 10)",
    "lid: 0 open .. 1 closed. gaze_x, gaze_y: iris from the middle of the eye, in eye widths,",
    "to image right and down. source: frame of the clip behind the head (written, read only if kept)",
)


@dataclasses.dataclass(frozen=True)
class MotionTrack:
    """Head and eyes per frame at 25 fps; None where the file (or the caller) does not say.

    euler: `[t 3]` radians, pitch, yaw, roll. translation: `[t 3]` dm. lid: `[t]`, 0 open to 1 closed.
    gaze: `[t 2]` eye widths, right and down. source: `[t]` frame of the training segment.
    """

    euler: Float[np.ndarray, "t 3"]
    translation: Float[np.ndarray, "t 3"] | None = None
    lid: Float[np.ndarray, "t"] | None = None
    gaze: Float[np.ndarray, "t 2"] | None = None
    source: Int[np.ndarray, "t"] | None = None

    def __len__(self) -> int:
        return len(self.euler)

    def take(self, index: Int[np.ndarray, "u"]) -> MotionTrack:
        """The frames `index`, in that order."""

        def part(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else values[index]

        rest = (self.translation, self.lid, self.gaze, self.source)
        return MotionTrack(self.euler[index], *map(part, rest))


def _columns(track: MotionTrack) -> dict[str, np.ndarray]:
    """Column name -> values in the file's units."""
    columns = dict(zip(ANGLES, np.rad2deg(np.asarray(track.euler, np.float64)).T, strict=True))
    if track.translation is not None:
        columns.update(zip(SHIFTS, np.asarray(track.translation, np.float64).T, strict=True))
    if track.lid is not None:
        columns["lid"] = np.asarray(track.lid, np.float64)
    if track.gaze is not None:
        columns.update(zip(GAZE, np.asarray(track.gaze, np.float64).T, strict=True))
    return columns


def format_track(track: MotionTrack) -> str:
    """The file's text: comment lines, a header, one row per frame."""
    columns = _columns(track)
    out = io.StringIO()
    for line in COMMENTS:
        out.write(f"# {line}\n")
    names = ["frame", "time", *columns, *(["source"] if track.source is not None else [])]
    out.write(",".join(names) + "\n")
    for k in range(len(track)):
        cells = [str(k), f"{k / FPS:.2f}"]
        cells += [_number(values[k], DIGITS[name]) for name, values in columns.items()]
        if track.source is not None:
            cells.append(str(int(track.source[k])))
        out.write(",".join(cells) + "\n")
    return out.getvalue()


def _number(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text


def parse_track(text: str, name: str = "track") -> MotionTrack:
    """Reads what `format_track` wrote, or an edited version of it.

    pitch, yaw, roll must be there; all other columns may be missing. With a `frame` column, rows may be
    left out: angles and translations go smoothly (monotone cubic) from row to row, lids and gaze linearly,
    `source` stays. `time` is for people and is not used.

    Args:
      name: of the file, for messages.

    Raises:
      InputError: code `bad_track`; names the line of the file, the column and the value.
    """
    lines = [(k, line) for k, line in enumerate(text.lstrip("\ufeff").splitlines(), 1)]
    rows = [(k, line) for k, line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not rows:
        raise _bad(name, "is empty", expected=f"a header line with {', '.join(ANGLES)}")
    header_line, header_text = rows[0]
    header = [cell.strip() for cell in next(csv.reader([header_text]))]
    _check_header(header, f"{name}, line {header_line}")
    table: dict[str, list[float]] = {column: [] for column in header}
    for k, line in rows[1:]:
        cells = next(csv.reader([line]))
        if len(cells) != len(header):
            raise _bad(f"{name}, line {k}", f"has {len(cells)} values", expected=f"{len(header)} values")
        for column, cell in zip(header, cells, strict=True):
            table[column].append(_value(column, cell, f"{name}, line {k}, column {column}"))
    if not table[ANGLES[0]]:
        raise _bad(name, "has a header but no rows", expected="one row per frame, or key frames")
    frames = _frame_numbers(table.get("frame"), len(rows) - 1, name, [k for k, _ in rows[1:]])
    return _filled({c: np.array(v) for c, v in table.items() if c not in ("frame", "time")}, frames)


def _check_header(header: list[str], where: str) -> None:
    known = ("frame", "time", *DIGITS, "source")
    for column in header:
        if column not in known:
            raise _bad(where, f"unknown column {column!r}", expected=f"columns among {', '.join(known)}")
    if len(set(header)) < len(header):
        twice = next(c for c in header if header.count(c) > 1)
        raise _bad(where, f"column {twice} is there twice", expected="every column once")
    for group in (ANGLES, SHIFTS, GAZE):
        there = [c for c in group if c in header]
        if (there or group is ANGLES) and len(there) < len(group):
            missing = ", ".join(c for c in group if c not in header)
            raise _bad(where, f"column {missing} is missing", expected=f"all of {', '.join(group)}")


def _value(column: str, cell: str, where: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _bad(where, f"{cell.strip()!r} is no number", expected="a plain decimal number")
    if column in ("frame", "source") and (value != int(value) or value < 0):
        raise _bad(where, f"{cell.strip()!r} is no frame number", expected="a whole number from 0")
    low, high = LIMITS.get(column, (-math.inf, math.inf))
    if not low <= value <= high:
        raise _bad(where, f"{value:g} is out of range", expected=f"{low:g} to {high:g}")
    return value


def _frame_numbers(column: list[float] | None, count: int, name: str, lines: list[int]) -> np.ndarray:
    if column is None:
        return np.arange(count)
    frames = np.array(column, np.int64)
    if frames[0] != 0:
        raise _bad(f"{name}, line {lines[0]}, column frame", f"starts at {frames[0]}", expected="frame 0")
    if len(back := np.flatnonzero(np.diff(frames) <= 0)):
        k = int(back[0]) + 1
        raise _bad(
            f"{name}, line {lines[k]}, column frame",
            f"{frames[k]} comes after {frames[k - 1]}",
            expected="growing frame numbers",
        )
    if frames[-1] >= MAX_FRAMES:
        where = f"{name}, line {lines[-1]}, column frame"
        raise _bad(where, f"{frames[-1]} is too late", expected=f"less than {MAX_FRAMES} (an hour)")
    return frames


def _filled(table: dict[str, np.ndarray], frames: np.ndarray) -> MotionTrack:
    """Values for every frame from 0 to the last row's."""
    wanted = np.arange(frames[-1] + 1)
    whole = len(wanted) == len(frames)

    def smooth(names: tuple[str, ...]) -> np.ndarray:
        values = np.stack([table[name] for name in names], 1)
        return values if whole else PchipInterpolator(frames, values)(wanted)

    def straight(name: str) -> np.ndarray:
        return np.interp(wanted, frames, table[name])

    source = None
    if "source" in table:
        held = np.searchsorted(frames, wanted, side="right") - 1
        source = table["source"][held].astype(np.int64)
    return MotionTrack(
        euler=np.deg2rad(smooth(ANGLES)),
        translation=smooth(SHIFTS) if SHIFTS[0] in table else None,
        lid=straight("lid") if "lid" in table else None,
        gaze=np.stack([straight(c) for c in GAZE], 1) if GAZE[0] in table else None,
        source=source,
    )


def _bad(where: str, what: str, *, expected: str) -> InputError:
    return InputError(
        f"{where}: {what}",
        expected=expected,
        fix="write a track with talkjax generate --motion_out=FILE and edit that",
        code="bad_track",
    )
