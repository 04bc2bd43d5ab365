"""The HTML report of one evaluation: a single file that opens anywhere, beside its videos.

Pictures and plots are inside the page; the videos stay files beside it. No script, nothing from the network.
"""

from __future__ import annotations

import base64
import html
import json
import os
import pathlib
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from talkjax.evaluate.meter import plain
from talkjax.evaluate.report_style import STYLE
from talkjax.evaluate.report_tables import (
    flat_rows,
    format_value,
    head_motion_table,
    likeness_table,
    mouth_table,
    number_table,
    picture_table,
    speech_table,
    steadiness_table,
    targets_table,
)
from talkjax.evaluate.strip import strip_image
from talkjax.evaluate.targets import Row, check

__all__ = ["format_value", "report_html", "strip_image", "write_report"]

REPORT_NAME = "report.html"

UNSEEN = "A synthetic talking face against the real clip, on frames it has never seen."
SEEN = "A synthetic talking face against the real clip. Trained on ALL frames: no figure is a test."

DRIVES = {
    "tracked": "Drive “tracked”: the frame's own expression, pose and light. Judges the picture alone.",
    "tracked_matched": "Drive “tracked” on a pose-matched training background. Reported without a target.",
    "audio": "Drive “audio”: expression from the sound, pose and light of the frame. Judges the speech.",
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
        "Unsteadiness of the nose ridge and of the skin, ratio to real; 1 is natural.",
    ),
)


def _drive_sections(drives: Mapping[str, Any]) -> str:
    parts = []
    for name, figures in drives.items():
        title = html.escape(DRIVES.get(name, f"Drive “{name}”"))
        parts.append(f"<h3>{title}</h3>")
        known = {"picture": picture_table, "speech": speech_table}
        for key, table in known.items():
            if figures.get(key):
                parts.append(table(figures[key]))
        if figures.get("mouth"):
            parts.append(mouth_table(figures["mouth"]))
        if figures.get("motion") or figures.get("flicker"):
            parts.append(steadiness_table(figures.get("motion"), figures.get("flicker")))
        if figures.get("identity"):
            parts.append(likeness_table(figures["identity"]))
    return "".join(parts)


def _image_tag(data: bytes, suffix: str, alt: str) -> str:
    kind = "jpeg" if suffix.lower() in (".jpg", ".jpeg") else "png"
    code = base64.b64encode(data).decode("ascii")
    return f'<img alt="{html.escape(alt, quote=True)}" src="data:image/{kind};base64,{code}">'


def _zoomable(picture: str) -> str:
    """A picture that a click shows at its own size, without a script."""
    return f'<label class="zoom"><input type="checkbox">{picture}</label>'


def _figure(inner: str, caption: str, kind: str = "") -> str:
    return f'<figure class="{kind}">{inner}<figcaption>{html.escape(caption)}</figcaption></figure>'


def _video_tag(video: str) -> str:
    source = html.escape(urllib.parse.quote(video), quote=True)
    return f'<video controls preload="metadata" src="{source}#t=0.04"><a href="{source}">{source}</a></video>'


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
        f'<p class="lead">{SEEN if clip.get("all_frames") else UNSEEN}</p>'
        f"{_facts({k: v for k, v in clip.items() if k != 'identity'})}{_verdict(rows)}</header>"
    ]
    if videos:
        body = "".join(_figure(_video_tag(address), caption) for caption, address in videos)
        sections.append(f'<h2>Videos</h2><div class="videos">{body}</div>')
    if strips:
        body = "".join(
            _figure(_zoomable(_image_tag(data, suffix, caption)), f"{caption} (click to enlarge)", "strip")
            for caption, suffix, data in strips
        )
        sections.append(f"<h2>Held-out frames</h2>{body}")
    sections.append(
        "<h2>Targets</h2>"
        '<p class="note">Set for the development clip; for another clip they are a reference only.</p>'
        + targets_table(rows)
    )
    if plots:
        body = "".join(_figure(_image_tag(data, ".png", caption), caption) for caption, data in plots)
        sections.append(f"<h2>Over time</h2>{body}")
    if metrics.get("drives"):
        sections.append(f"<h2>Figures</h2>{_drive_sections(metrics['drives'])}")
    if metrics.get("head_motion"):
        sections.append(f"<h3>Head motion</h3>{head_motion_table(metrics['head_motion'])}")
    if metrics.get("eyes"):
        table = number_table(("Generated lids and training", "Value"), flat_rows(metrics["eyes"]))
        sections.append(f"<h3>Eyes</h3>{table}")
    if metrics.get("silence"):
        table = number_table(("Lip speed over that in speech", "Ratio"), flat_rows(metrics["silence"]))
        sections.append(f"<h3>Silence</h3>{table}")
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
