"""Targets, strip, plots and the HTML page: what is in them and what must not be."""

from __future__ import annotations

import base64
import html.parser
import pathlib
import re
from typing import Any

import cv2
import numpy as np
import pytest

from talkjax.evaluate import figures, plots, speech, targets
from talkjax.evaluate.identity import identity_figures
from talkjax.evaluate.meter import picture_figures
from talkjax.evaluate.report import report_html, strip_image, write_report
from talkjax.evaluate.report_tables import format_value
from talkjax.evaluate.strip import CELL, GAP, LABEL_HEIGHT, MARGIN
from tests.evaluate import faces


def _mouth(opening: np.ndarray) -> dict[str, Any]:
    """As `mouth.mouth_figures` gives it; that needs a face model and is tested on its own."""
    dimensions = dict.fromkeys(("jaw", "pucker", "stretch", "upper_lip", "mean"), 0.6)
    r = speech.pearson(opening, opening[::-1])
    return {
        "r": r, "interval": list(speech.bootstrap_interval(opening, opening[::-1])), "amplitude": 0.9,
        "auc_closed": speech.auc(-opening, opening < np.quantile(opening, 0.3)), "width_r": 0.4,
        "dimensions": dimensions,
    }  # fmt: skip


@pytest.fixture(scope="module")
def metrics() -> dict[str, Any]:
    """Everything that `targets` describes, made by the functions that make it in earnest."""
    opening = faces.smooth_noise(80, seed=1)
    track = faces.speaking(opening).astype(np.float64)
    track[..., :2] += np.random.default_rng(0).normal(0, 0.2, (80, 1, 2))
    frames = [faces.photo(seed=k) for k in range(3)]
    soft = [cv2.GaussianBlur(frame, (0, 0), 1) for frame in frames]
    softer = [cv2.GaussianBlur(frame, (0, 0), 3) for frame in frames]
    pose = np.cumsum(np.random.default_rng(1).normal(0, 0.01, (240, 3)), axis=0)
    blinking = np.stack([faces.face(lids=0.05 if k in (20, 21, 60) else 0.3) for k in range(80)])
    likeness = identity_figures(*np.random.default_rng(2).normal(1, 0.2, (3, 8, 16)))
    drive = {
        "picture": picture_figures(frames, soft, track[:3], softer),
        "speech": figures.speech_figures(track, track),
        "motion": figures.motion_figures(track, track),
        "mouth": _mouth(opening),
        "flicker": {"flicker": 0.9, "real": 2.0, "out": 1.8},
        "identity": likeness | {"embedding": "<b>", "bare": likeness},
    }
    return {
        "clip": {"identity": "a<script>b", "frames": 80},
        "tracking": {"missed": 0, "missed_half": 0, "missed_third": 1},
        "fit": figures.fit_figures(track[:, :468] + 0.2, track, 40),
        "pose_noise": figures.pose_noise_figures(pose),
        "drives": {"tracked": drive, "audio": drive},
        "head_motion": figures.head_motion_figures([pose, pose[::-1]], pose, pose[40:]),
        "eyes": figures.eye_figures([blinking], blinking),
        "silence": figures.silence_figures({"digital": track, "noise": track}, track),
        "times": {
            "prepare": {"seconds": 20.0, "gib": 1.0},
            "finetune": {"seconds": 901.0, "gib": 1.0},
            "generate": {"fps": 5.0, "gib": 1.0},
            "demo": {"seconds": 400.0},
        },
    }


def test_every_target_finds_its_figure(metrics: dict[str, Any]) -> None:
    rows = targets.check(metrics)
    assert len(rows) == len(targets.TARGETS)
    assert [name for name, value, _, _ in rows if value is None] == []
    by_name = {row.name: row for row in rows}
    assert by_name["… at a third of the size"].ok is False
    assert by_name["Finetune"].ok is False and by_name["Prepare"].ok is True
    assert by_name["… above its circular-shift control"].ok is True


def test_targets_are_inclusive_and_missing_figures_are_unknown() -> None:
    assert all(row.ok is None and row.value is None for row in targets.check({}))
    target = (targets.Target("x", "a.b", 0.5, 1.2),)
    for value, ok in ((0.5, True), (1.2, True), (0.49, False), (1.21, False), (None, None)):
        assert targets.check({"a": {"b": value}}, target)[0].ok is ok
    assert targets.check({"a": 3}, target)[0].ok is None


def test_targets_read_as_the_issue_states_them() -> None:
    texts = {row.name: row.target for row in targets.check({})}
    assert texts["Result, face PSNR"] == "≥ 28 dB" and texts["Result, face SSIM"] == "≥ 0.885"
    assert texts["Lip opening by sound, best lag"] == "within ±1 frames"
    assert texts["Sharpness of the mouth, ratio to real"] == "0.5 – 1.2"
    assert texts["Landmark fit, held-out frames, all points"] == "≤ 0.95 %"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (True, "yes"),
        (3, "3"),
        (-2, "−2"),
        (28.0372, "28.04"),
        (0.6224, "0.622"),
        (142.31, "142"),
    ],
)
def test_format_value(value: Any, text: str) -> None:
    assert format_value(value) == text
    assert format_value(float("nan")) == "–" and format_value(-0.0001) == "0.000"


class _Page(html.parser.HTMLParser):
    """Collects tags, links and text, and checks that every opened tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def test_report_is_self_contained_and_escaped(metrics: dict[str, Any], tmp_path: pathlib.Path) -> None:
    picture = cv2.imencode(".png", faces.photo(20, 30))[1].tobytes()
    (tmp_path / "strip.png").write_bytes(picture)
    plot = plots.plot_frame_quality({"result": np.array([1.0, np.nan, 3.0])})
    videos = {"Drive tracked": tmp_path / "held out#1.mp4"}
    path = write_report(tmp_path, metrics, [tmp_path / "strip.png"], videos, {"Quality": plot})
    assert path == tmp_path / "report.html" and sorted(p.name for p in tmp_path.iterdir()) == [
        "report.html",
        "strip.png",
    ]
    text = path.read_text(encoding="utf-8")
    page = _Page(text)
    assert page.open == [] and "<script" not in text and "a<script>b" in page.text
    assert "http" not in re.sub(r"base64,[^\"]*", "", text)  # nothing from the network
    sources = [attrs["src"] or "" for tag, attrs in page.tags if tag == "img"]
    assert base64.b64decode(sources[0].split(",")[1]) == picture
    assert base64.b64decode(sources[1].split(",")[1]) == plot
    video = next(attrs for tag, attrs in page.tags if tag == "video")
    assert (video["src"] or "").startswith("held%20out%231.mp4")
    rows = targets.check(metrics)
    assert page.text.count("✓ met") == sum(row.ok is True for row in rows)
    assert page.text.count("✗ missed") == sum(row.ok is False for row in rows)


def test_report_of_nothing_still_says_so() -> None:
    page = _Page(report_html({}))
    assert "0 of 0" in page.text and page.text.count("not measured") == len(targets.TARGETS) + 1
    assert "ALL frames" in report_html({"clip": {"all_frames": True}})


def test_plots_are_pictures() -> None:
    series = faces.smooth_noise(100, seed=1)
    missing = series.copy()
    missing[10:20] = np.nan
    pose = np.random.default_rng(0).normal(size=(100, 3))
    for data in (
        plots.plot_lip_opening(series, missing),
        plots.plot_pose({"real": pose, "result": pose[:50]}),
    ):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None and image.shape[1] > 1000 and image.std() > 5


def test_strip_shows_real_bare_result_in_order() -> None:
    def plain_frame(color: tuple[int, int, int]) -> np.ndarray:
        return np.broadcast_to(np.array(color, np.uint8), (300, 320, 3)).copy()

    red, green, blue = plain_frame((200, 0, 0)), plain_frame((0, 200, 0)), plain_frame((0, 0, 200))
    landmarks = faces.speaking(np.full(5, 0.1))
    sheet = strip_image([red] * 5, [green] * 5, [blue] * 5, landmarks, range(300, 305), per_row=2)
    assert sheet.dtype == np.uint8
    width = 3 * CELL + 2 * GAP
    assert sheet.shape[1] == 2 * width + 3 * MARGIN
    middle = MARGIN + LABEL_HEIGHT + CELL // 2
    columns = [MARGIN + CELL // 2 + k * (CELL + GAP) for k in range(3)]
    np.testing.assert_array_equal(sheet[middle, columns], [[200, 0, 0], [0, 200, 0], [0, 0, 200]])
    assert (sheet[-middle, -MARGIN - CELL // 2] == 255).all()  # the last row has one frame only
    with pytest.raises(ValueError, match="equally many"):
        strip_image([red], [green], [blue] * 2, landmarks[:1], [300])


def test_strip_enlarges_mouth_and_eyes() -> None:
    points = faces.face(opening=0.05)
    frame = np.zeros((300, 320, 3), np.uint8)
    mouth = points[[61, 291], :2].mean(axis=0).astype(int)
    frame[mouth[1] - 3 : mouth[1] + 3, mouth[0] - 3 : mouth[0] + 3] = 255  # 6 px of a mouth 48 px wide
    sheet = strip_image([frame], None, [frame], points[None], [0])
    window = sheet[-MARGIN - 92 : -MARGIN, MARGIN : MARGIN + CELL, 0]
    spot = np.argwhere(window > 127)
    np.testing.assert_allclose(spot.mean(axis=0), [45.5, 83.5], atol=2)  # in the middle, enlarged 2.6 times
    assert np.ptp(spot[:, 1]) == pytest.approx(6 * CELL / (48 * 1.35), abs=2.5)
