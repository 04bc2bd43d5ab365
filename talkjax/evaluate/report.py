"""The HTML report of one evaluation: a single file that opens anywhere, beside its videos.

Pictures and plots are inside the page; the videos stay files beside it. No script, nothing from the network.
"""

from __future__ import annotations

import base64
import html
import json
import math
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from talkjax.evaluate.meter import plain
from talkjax.evaluate.regions import REGION_NAMES
from talkjax.evaluate.report_style import STYLE
from talkjax.evaluate.strip import strip_image
from talkjax.evaluate.targets import Row, check

__all__ = ["format_value", "report_html", "strip_image", "write_report"]

REPORT_NAME = "report.html"

DRIVES = {
    "tracked": "Drive “tracked”: the frame's own expression, pose and light. Judges the picture alone.",
    "tracked_matched": "Drive “tracked” on a pose-matched training background. Reported without a target.",
    "audio": "Drive “audio”: expression from the sound alone, pose and light of the frame. Judges the speech.",
    "free": "Drive “free”: everything generated from the sound. Judges what a user gets.",
}

DEFINITIONS = (
    ("Held-out frames", "No pixel, sound, landmark, light or background of them was seen in training."),
    ("Face, mouth, eyes", "Hull of the face mesh; hulls of lips and lids grown by 15 % of their width."),
    ("PSNR, SSIM", "Over the region, on a crop of 256 px, mean over frames; p5 is the 5th percentile."),
    ("Sharpness", "Variance of the Laplacian on a crop of 160 px, as a ratio to the real frames."),
    ("Seam", "Gradient across the border of the paste less the real frame's, in grey levels; 0 is unseen."),
    ("Lip opening r", "Correlation of the lip gap with the real one, tracked again on the output video."),
    ("Control", "99th percentile of r over all circular shifts of a second or more: what chance gives."),
    ("Lag", "Shift of the highest r, in frames; positive when the video is late."),
    ("LMD", "Mean distance of the lip points from the real ones, in distances of the outer eye corners."),
    (
        "Jitter, flicker",
        "Unsteadiness of the nose ridge and of the skin, as ratios to the real clip; 1 is natural.",
    ),
)


def format_value(value: Any, digits: int | None = None) -> str:
    """A figure for people: `–` for None, counts whole, else about three significant digits."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return html.escape(value)
    if isinstance(value, int) and digits is None:
        return str(value)
    if digits is None:
        size = abs(value)
        digits = 0 if size >= 100 else 1 if size >= 50 else 2 if size >= 1 else 3
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def _table(head: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """A table of numbers; each row is (label, cells), already safe HTML."""
    cells = "".join(
        f'<th class="number">{name}</th>' if k else f"<th>{name}</th>" for k, name in enumerate(head)
    )
    body = "".join(
        f"<tr><th>{label}</th>" + "".join(f'<td class="number">{cell}</td>' for cell in row) + "</tr>"
        for label, row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'


def _targets_table(rows: Sequence[Row]) -> str:
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
        '<table><thead><tr><th>Figure</th><th class="number">Measured</th><th class="number">Target</th>'
        f"<th></th></tr></thead><tbody>{''.join(body)}</tbody></table>"
    )


def _picture_table(picture: Mapping[str, Any]) -> str:
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
    text = _table(head, rows)
    facts = [f"seam {format_value((picture.get('out') or {}).get('seam'), 2)} grey levels"]
    gain, better = picture.get("gain") or {}, picture.get("better") or {}
    for name in ("face", "mouth"):
        if gain.get(name) is not None and better.get(name) is not None:
            facts.append(
                f"{name}: {format_value(gain[name], 2)} dB over the bare render, "
                f"better on {format_value(100 * better[name], 0)} % of the frames"
            )
    return text + f'<p class="note">{"; ".join(facts).capitalize()}.</p>'


def _speech_table(figures: Mapping[str, Any]) -> str:
    head = ("Lips", "r", "Best lag", "r there", "Amplitude", "Control")
    rows = []
    for name in ("opening", "width"):
        part = figures.get(name)
        if part:
            cells = [format_value(part["r"], 3), format_value(part["lag"]), format_value(part["r_at_lag"], 3)]
            cells += [format_value(part["amplitude"], 2), format_value(part["control_p99"], 3)]
            rows.append((name.capitalize(), cells))
    return _table(head, rows) + f'<p class="note">LMD {format_value(figures.get("lmd"), 4)}.</p>'


def _flat(figures: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Sequence[str]]]:
    """Nested figures as (readable label, [value]) rows."""
    rows: list[tuple[str, Sequence[str]]] = []
    for key, value in figures.items():
        label = f"{prefix}{str(key).replace('_', ' ')}"
        if isinstance(value, Mapping):
            rows += _flat(value, f"{label}, ")
        elif not isinstance(value, list):
            rows.append((html.escape(label.capitalize()), [format_value(value)]))
    return rows


def _drive_sections(drives: Mapping[str, Any]) -> str:
    parts = []
    for name, figures in drives.items():
        title = html.escape(DRIVES.get(name, f"Drive “{name}”"))
        parts.append(f"<h3>{title}</h3>")
        known = {"picture": _picture_table, "speech": _speech_table}
        for key, table in known.items():
            if figures.get(key):
                parts.append(table(figures[key]))
        rest = {key: value for key, value in figures.items() if key not in known and value}
        if rest:
            parts.append(_table(("Steadiness", "Value"), _flat(rest)))
    return "".join(parts)


def _image_tag(data: bytes, suffix: str, alt: str) -> str:
    kind = "jpeg" if suffix.lower() in (".jpg", ".jpeg") else "png"
    code = base64.b64encode(data).decode("ascii")
    return f'<img alt="{html.escape(alt, quote=True)}" src="data:image/{kind};base64,{code}">'


def _figure(inner: str, caption: str, kind: str = "") -> str:
    return f'<figure class="{kind}">{inner}<figcaption>{html.escape(caption)}</figcaption></figure>'


def _video_tag(video: str) -> str:
    source = html.escape(video, quote=True)
    return f'<video controls preload="metadata" src="{source}"><a href="{source}">{source}</a></video>'


def _facts(clip: Mapping[str, Any]) -> str:
    items = (
        f"<li><b>{html.escape(str(key).replace('_', ' '))}</b>{format_value(value)}</li>"
        for key, value in clip.items()
        if not isinstance(value, Mapping | list)
    )
    return f'<ul class="facts">{"".join(items)}</ul>'


def _verdict(rows: Sequence[Row]) -> str:
    measured = [row for row in rows if row.ok is not None]
    met, missing = sum(bool(row.ok) for row in measured), len(rows) - len(measured)
    text = f"<strong>{met} of {len(measured)}</strong> measured targets met"
    return f'<p class="verdict">{text}{f", {missing} not measured" if missing else ""}.</p>'


def report_html(
    metrics: Mapping[str, Any],
    strips: Sequence[tuple[str, str, bytes]] = (),
    videos: Sequence[tuple[str, str]] = (),
    plots: Sequence[tuple[str, bytes]] = (),
) -> str:
    """The page as text.

    Args:
      metrics: laid out as `targets` says; other parts are listed under "Everything measured".
      strips: (caption, file suffix, picture bytes); videos: (caption, address relative to the page);
      plots: (caption, PNG bytes).
    """
    metrics = plain(metrics)
    clip = metrics.get("clip") or {}
    rows = check(metrics)
    title = f"Evaluation of {clip['identity']}" if clip.get("identity") else "Evaluation"
    sections = [
        f"<header><h1>{html.escape(str(title))}</h1>"
        '<p class="lead">A synthetic talking face against the real clip, on frames it has never seen.</p>'
        f"{_facts({k: v for k, v in clip.items() if k != 'identity'})}{_verdict(rows)}</header>"
    ]
    if videos:
        body = "".join(_figure(_video_tag(address), caption) for caption, address in videos)
        sections.append(f'<h2>Videos</h2><div class="videos">{body}</div>')
    if strips:
        body = "".join(
            _figure(_image_tag(data, suffix, caption), caption, "strip") for caption, suffix, data in strips
        )
        sections.append(f"<h2>Held-out frames</h2>{body}")
    sections.append(
        "<h2>Targets</h2>"
        '<p class="note">Set for the development clip; on another clip they are a reference, not a verdict.</p>'
        + _targets_table(rows)
    )
    if plots:
        body = "".join(_figure(_image_tag(data, ".png", caption), caption) for caption, data in plots)
        sections.append(f"<h2>Over time</h2>{body}")
    if metrics.get("drives"):
        sections.append(f"<h2>Figures</h2>{_drive_sections(metrics['drives'])}")
    for key, name in (("head_motion", "Head motion"), ("silence", "Silence: lip speed over that in speech")):
        if metrics.get(key):
            sections.append(f"<h3>{name}</h3>{_table(('Figure', 'Value'), _flat(metrics[key]))}")
    terms = "".join(f"<dt>{term}</dt><dd>{text}</dd>" for term, text in DEFINITIONS)
    dump = html.escape(json.dumps(metrics, indent=2, ensure_ascii=False))
    sections.append(f"<h2>How to read this</h2><dl>{terms}</dl>")
    sections.append(
        f"<details><summary>Everything measured (metrics.json)</summary><pre>{dump}</pre></details>"
    )
    sections.append("<footer>The pictures of the result are synthetic. Made by talkjax.</footer>")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(str(title))}</title><style>{STYLE}</style></head>"
        f"<body>{''.join(sections)}</body></html>\n"
    )


def _captioned(items: Any) -> list[tuple[str, Any]]:
    """(caption, item) pairs from a mapping, from pairs, or from paths whose names make the captions."""
    if isinstance(items, Mapping):
        return [(str(caption), item) for caption, item in items.items()]
    pairs = []
    for item in items:
        if isinstance(item, tuple):
            pairs.append((str(item[0]), item[1]))
        else:
            pairs.append((pathlib.Path(item).stem.replace("_", " ").capitalize(), item))
    return pairs


def write_report(
    folder: str | os.PathLike[str],
    metrics: Mapping[str, Any],
    strips: Any = (),
    videos: Any = (),
    plots: Any = (),
) -> pathlib.Path:
    """Writes `report.html` into `folder`, whole or not at all, and returns its path.

    Args:
      metrics: see `targets`.
      strips: image files (png or jpg), copied into the page.
      videos: video files, linked relative to the folder, so they should lie in it.
      plots: PNG bytes, as a mapping from caption or as (caption, bytes) pairs.
      strips and videos may be paths (captioned by their names), (caption, path) pairs or such a mapping.
    """
    folder = pathlib.Path(folder)
    pictures = []
    for caption, path in _captioned(strips):
        path = pathlib.Path(path)
        pictures.append((caption, path.suffix, path.read_bytes()))
    links = [
        (caption, pathlib.Path(os.path.relpath(path, folder)).as_posix())
        for caption, path in _captioned(videos)
    ]
    text = report_html(metrics, pictures, links, _captioned(plots))
    target = folder / REPORT_NAME
    temporary = folder / f".{REPORT_NAME}.part"
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, target)
    return target
