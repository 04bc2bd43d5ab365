"""The tables of the report as HTML, and how a figure is written for people."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from talkjax.evaluate.motion import AXES
from talkjax.evaluate.regions import REGION_NAMES
from talkjax.evaluate.targets import Row


def format_value(value: Any, digits: int | None = None) -> str:
    """A figure for people: `–` for None, counts whole, else about three significant digits."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return html.escape(value)
    if isinstance(value, int) and digits is None:
        return str(value).replace("-", "−")
    if digits is None:
        size = abs(value)
        digits = 0 if size >= 100 else 1 if size >= 50 else 2 if size >= 1 else 3
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def number_table(head: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """A table of numbers; each row is (label, cells), already safe HTML."""
    cells = "".join(
        f'<th class="number">{name}</th>' if k else f"<th>{name}</th>" for k, name in enumerate(head)
    )
    body = "".join(
        f"<tr><th>{label}</th>" + "".join(f'<td class="number">{cell}</td>' for cell in row) + "</tr>"
        for label, row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'


def targets_table(rows: Sequence[Row]) -> str:
    marks = {
        True: '<span class="ok">✓ met</span>',
        False: '<span class="miss">✗ missed</span>',
        None: '<span class="unknown">not measured</span>',
    }
    body = []
    for name, value, target, ok in rows:
        yes_no = target == "yes" and value is not None
        whole = value is not None and value == int(value) and ("frames" in target or target == "0")
        shown: Any = bool(value) if yes_no else int(value) if whole and value is not None else value
        body.append(
            f"<tr{' class=missed' if ok is False else ''}><th>{html.escape(name)}</th>"
            f'<td class="number">{format_value(shown)}</td><td class="number">{html.escape(target)}</td>'
            f'<td class="mark">{marks[ok]}</td></tr>'
        )
    return (
        '<div class="scroll"><table><thead><tr><th>Figure</th>'
        '<th class="number">Measured</th><th class="number">Target</th>'
        f"<th></th></tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def picture_table(picture: Mapping[str, Any]) -> str:
    """Regions of the result with the bare render as a row above each."""
    head = ("Region", "PSNR dB", "p5", "SSIM", "p5", "Sharpness", "Frames")
    rows = []
    for name in REGION_NAMES:
        for label, key in (("bare render", "bare"), ("result", "out")):
            part = (picture.get(key) or {}).get(name)
            if part is None:
                continue
            cells = [
                *(format_value(part[k], 2) for k in ("psnr", "psnr_p5")),
                *(format_value(part[k], 3) for k in ("ssim", "ssim_p5")),
                format_value(part["sharpness"], 2),
                format_value(part["frames"]),
            ]
            rows.append((f"{name.replace('_', ' ').capitalize()}, {label}", cells))
    text = number_table(head, rows)
    facts = [f"Seam {format_value((picture.get('out') or {}).get('seam'), 2)} grey levels"]
    gain, better = picture.get("gain") or {}, picture.get("better") or {}
    for name in ("face", "mouth"):
        if gain.get(name) is not None and better.get(name) is not None:
            facts.append(
                f"{name}: {format_value(gain[name], 2)} dB over the bare render, "
                f"better on {format_value(100 * better[name], 0)} % of the frames"
            )
    return text + f'<p class="note">{"; ".join(facts)}.</p>'


def speech_table(figures: Mapping[str, Any]) -> str:
    head = ("Lips", "r", "5–95 %", "Best lag", "r there", "Amplitude", "Control")
    rows = []
    for name in ("opening", "width"):
        part = figures.get(name)
        if part:
            low, high = part.get("interval") or (None, None)
            cells = [format_value(part["r"], 3), f"{format_value(low, 2)} – {format_value(high, 2)}"]
            cells += [format_value(part["lag"]), format_value(part["r_at_lag"], 3)]
            cells += [format_value(part["amplitude"], 2), format_value(part["control_p99"], 3)]
            rows.append((name.capitalize(), cells))
    return number_table(head, rows) + f'<p class="note">LMD {format_value(figures.get("lmd"), 4)}.</p>'


def mouth_table(figures: Mapping[str, Any]) -> str:
    """The prediction itself, before any picture: coefficients against the tracked clip."""
    low, high = figures.get("interval") or (None, None)
    rows = [
        (
            "Lip opening r",
            f"{format_value(figures['r'], 3)} ({format_value(low, 2)} – {format_value(high, 2)})",
        ),
        ("Lip opening, amplitude", format_value(figures["amplitude"], 2)),
        ("Closed against open lips, AUC", format_value(figures["auc_closed"], 3)),
        ("Mouth width r", format_value(figures["width_r"], 3)),
    ]
    rows += [
        (f"{name.replace('_', ' ').capitalize()} r", format_value(value, 3))
        for name, value in figures["dimensions"].items()
    ]
    return number_table(("Predicted coefficients", "Value"), [(name, [cell]) for name, cell in rows])


def flat_rows(figures: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Sequence[str]]]:
    """Nested figures as (readable label, [value]) rows."""
    rows: list[tuple[str, Sequence[str]]] = []
    for key, value in figures.items():
        label = f"{prefix}{str(key).replace('_', ' ')}"
        if isinstance(value, Mapping):
            rows += flat_rows(value, f"{label}, ")
        elif not isinstance(value, list):
            rows.append((html.escape(label.capitalize()), [format_value(value)]))
    return rows


def steadiness_table(motion: Mapping[str, Any] | None, flicker: Mapping[str, Any] | None) -> str:
    """Jitter, flicker and blinks of the real clip and the result, with their ratios."""
    rows = []
    if motion:
        per_mille = [None if v is None else 1000 * v for v in (motion["jitter_real"], motion["jitter_out"])]
        cells = [format_value(v, 2) for v in (*per_mille, motion["jitter"])]
        rows.append(("Jitter, 1/1000 of the eye distance", cells))
        blinks = motion["blinks_per_minute"]
        rate = [blinks["real"], blinks["out"]]
        ratio = rate[1] / rate[0] if rate[0] and rate[1] is not None else None
        cells = [format_value(rate[0], 1), format_value(rate[1], 1), format_value(ratio, 2)]
        rows.append(("Blinks per minute", cells))
    if flicker:
        cells = [format_value(flicker[key], 2) for key in ("real", "out", "flicker")]
        rows.append(("Flicker of the skin, grey levels per frame", cells))
    return number_table(("Steadiness", "Real", "Result", "Ratio"), rows)


def likeness_table(figures: Mapping[str, Any]) -> str:
    """How far the result's face is from the person's; the bare render as the first row."""
    head = ("Identity distance", "To held-out", "Between halves", "Ratio", "Ratio of centers")
    keys = ("distance", "halves", "ratio", "center_ratio")
    rows = [
        (label, [format_value(part.get(key), 3) for key in keys])
        for label, part in (("Bare render", figures.get("bare")), ("Result", figures))
        if part
    ]
    note = f"1 − cosine, mean over pairs of frames; {html.escape(str(figures.get('embedding', '')))}."
    return number_table(head, rows) + f'<p class="note">{note}</p>'


def head_motion_table(figures: Mapping[str, Any]) -> str:
    """Generated head motion against the reference motions; the last row is what training motion reaches."""
    names = {
        "against_training": "Generated against training",
        "against_heldout": "Generated against held-out",
        "heldout_by_training": "Training against held-out",
    }
    rows = []
    for key, label in names.items():
        part = figures.get(key)
        if part:
            cells = [part["hs"], *(part["std_ratio"][axis] for axis in AXES), part["spectrum_db"]]
            cells += [part["speed_ratio"][axis] for axis in AXES]
            rows.append((label, [format_value(value, 2) for value in cells]))
    head = ("Head motion", "Similarity", *(f"{axis} std" for axis in AXES), "Spectrum dB")
    head += tuple(f"{axis} speed" for axis in AXES)
    worst = ", ".join(
        f"{label} {format_value(figures.get(key), 2)}"
        for label, key in (
            ("correlation of two seeds", "seed_correlation"),
            ("autocorrelation beyond 4 s", "loop_peak"),
            ("step over the training's 99.9th percentile", "jump_ratio"),
        )
    )
    note = f"Mean of {figures.get('seeds', '–')} seeds of a minute each; largest {worst}."
    return number_table(head, rows) + f'<p class="note">{note}</p>'
