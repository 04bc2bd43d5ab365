"""Real videos as a corpus: each corpus's layout, with broken clips set aside.

`goldens/synthetic_person.mp4` is 29 frames with sound of the project's drawn person, 160 x 160
(`synthesize_clip(seconds=1.16, size=(160, 160))`).
"""

from __future__ import annotations

import json
import pathlib
import shutil

import numpy as np
import pytest

from talkjax.assets.mediapipe import landmark_model_files
from talkjax.data.corpora import builder_class
from talkjax.data.corpora.corpus import SpeechItems
from talkjax.data.corpora.hdtf import Hdtf, HdtfFrames, voice_of
from talkjax.data.corpora.lrw import Lrw
from talkjax.data.corpora.video_folder import VideoFolder
from talkjax.data.corpora.voxceleb2 import VoxCeleb2
from talkjax.data.preparation import do_job, settle
from talkjax.data.preparation_beam import prepare_all, runner_options
from talkjax.data.video_corpus import folder_clips, lrw_clips
from talkjax.errors import InputError
from talkjax.media.reader import read_audio
from talkjax.media.writer import VideoWriter

CLIP = pathlib.Path(__file__).parents[1] / "goldens" / "synthetic_person.mp4"


def _write(path: pathlib.Path, sound: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = np.sin(np.arange(19_200) / 20).astype(np.float32) / 4
    with VideoWriter(path, 64, 64, audio=(tone, 16_000) if sound else None) as out:
        for _ in range(29):
            out.write(np.full((64, 64, 3), 90, np.uint8))


@pytest.fixture(scope="module")
def lrw(tmp_path_factory) -> pathlib.Path:
    root = tmp_path_factory.mktemp("lrw")
    good = root / "ABOUT" / "train" / "ABOUT_00001.mp4"
    good.parent.mkdir(parents=True)
    shutil.copy(CLIP, good)
    good.with_suffix(".txt").write_text("Duration: 0.4 seconds\n")
    (good.parent / "ABOUT_00002.mp4").write_bytes(CLIP.read_bytes()[:9000])
    _write(root / "ABOUT" / "val" / "ABOUT_00001.mp4", sound=False)
    _write(root / "MAYBE" / "test" / "MAYBE_00001.mp4", sound=True)
    (root / "MAYBE" / "train").mkdir()
    return root


def test_lrw_layout(lrw):
    clips = lrw_clips(lrw)
    assert [(c.name, c.split, c.text) for c in clips] == [
        ("ABOUT/train/ABOUT_00001.mp4", "train", "about"),
        ("ABOUT/train/ABOUT_00002.mp4", "train", "about"),
        ("ABOUT/val/ABOUT_00001.mp4", "utterance_heldout", "about"),
        ("MAYBE/test/MAYBE_00001.mp4", "utterance_heldout", "maybe"),
    ]


@pytest.mark.slow
def test_lrw_corpus_sets_broken_clips_aside(lrw, tmp_path):
    """The Beam pipeline with the real tracker, in this process."""
    try:
        landmark_model_files()
    except InputError as error:
        pytest.skip(f"face models cannot be had: {error}")
    names = [c.name for c in lrw_clips(lrw)]
    (tmp_path / "wanted.txt").write_text("# all\n" + "\n".join([*names, "GONE/train/GONE_00001.mp4"]) + "\n")
    options = {"source": lrw, "data_dir": tmp_path / "out", "manifest": tmp_path / "wanted.txt"}
    builder = Lrw(max_reject_ratio=0.8, **options)
    jobs, missing = builder.jobs(lrw)
    assert missing == ["GONE/train/GONE_00001.mp4"]
    prepare_all(builder.preparer(lrw), builder.out, jobs, runner_options("DirectRunner", 1, []))
    with pytest.raises(InputError, match=r"3 of 4 clips are rejected.*at most 50%.*--max_reject_ratio"):
        settle(builder.out, jobs, missing, 0.5)
    folder = builder.build()
    rows = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()]
    reasons = {row["clip"]: row["code"] for row in rows}
    assert set(reasons) == {*names[1:], "GONE/train/GONE_00001.mp4"}
    assert reasons["ABOUT/val/ABOUT_00001.mp4"] == "no_audio"
    assert reasons["MAYBE/test/MAYBE_00001.mp4"] == "no_face"
    assert reasons["GONE/train/GONE_00001.mp4"] == "missing"
    items = SpeechItems(folder)
    assert len(items) == 1
    utterance = items.utterance(0)
    assert (utterance.key, utterance.text, len(utterance)) == ("ABOUT/train/ABOUT_00001.mp4", "about", 29)
    assert utterance.valid.all() and np.isfinite(utterance.exp).all() and np.ptp(utterance.exp) > 0.3
    assert np.isnan(utterance.channels).all()
    assert np.abs(utterance.euler).max() < 0.5 and np.isfinite(utterance.translation).all()
    heard = read_audio(CLIP)[: len(utterance.wav)]
    np.testing.assert_allclose(utterance.wav[: len(heard)] / 32767, heard, atol=2e-4)

    # again: nothing is done anew, and a corpus of other clips is not taken for this one
    reports = [do_job(builder.preparer(lrw), builder.out, job) for job in jobs]
    assert all(report["kept"] for report in reports)
    assert Lrw(max_reject_ratio=0.8, **options).build() == folder
    (tmp_path / "wanted.txt").write_text(names[0] + "\n")
    with pytest.raises(InputError, match="written from other clips or settings"):
        Lrw(max_reject_ratio=0.8, **options).build()


def test_folder_layout(lrw, tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    shutil.copy(lrw / "ABOUT" / "train" / "ABOUT_00002.mp4", tmp_path / "in" / "sub" / "b.mp4")
    (tmp_path / "in" / "a.MOV").touch()
    (tmp_path / "in" / "notes.txt").write_text("no video")
    assert [c.name for c in folder_clips(tmp_path / "in")] == ["a.MOV", "sub/b.mp4"]
    jobs, missing = VideoFolder(data_dir=tmp_path / "out").jobs(tmp_path / "in")
    assert [job.name for job in jobs] == ["a.MOV", "sub/b.mp4"] and not missing


def test_lrw_archive_folder(lrw, tmp_path):
    """The folder above `lipread_mp4` is taken as well."""
    shutil.copytree(lrw, tmp_path / "lipread_mp4")
    jobs, _ = Lrw(data_dir=tmp_path / "out").jobs(tmp_path)
    assert jobs[0].name == jobs[0].facts["name"] == "lipread_mp4/ABOUT/train/ABOUT_00001.mp4"


def test_voxceleb2_layout(tmp_path):
    for name in ("dev/mp4/id00012/21Uxsk56VDQ/00001", "test/mp4/id00017/01dfn2spqyE/00001"):
        path = tmp_path / f"{name}.mp4"
        path.parent.mkdir(parents=True)
        path.touch()
    sound = tmp_path / "dev/aac/id00012/21Uxsk56VDQ/00001.m4a"
    sound.parent.mkdir(parents=True)
    sound.touch()
    wanted = ["dev/mp4/id00012/21Uxsk56VDQ/00001.mp4", "dev/mp4/id00012/21Uxsk56VDQ/00002.mp4"]
    (tmp_path / "list").write_text("\n".join(wanted))
    jobs, _ = VoxCeleb2(data_dir=tmp_path / "out").jobs(tmp_path)
    facts = [(j.facts["voice"], j.split, j.facts["sound"]) for j in jobs]
    assert facts == [
        ("id00012", "train", "dev/aac/id00012/21Uxsk56VDQ/00001.m4a"),
        ("id00017", "voice_heldout", ""),
    ]
    jobs, missing = VoxCeleb2(data_dir=tmp_path / "out", manifest=tmp_path / "list").jobs(tmp_path)
    assert ([j.name for j in jobs], missing) == (wanted[:1], wanted[1:])
    (tmp_path / "list").write_text("dev/mp4/id99999/x/00001.mp4")
    with pytest.raises(InputError, match="none of the 1 clips of list"):
        VoxCeleb2(data_dir=tmp_path / "out", manifest=tmp_path / "list").jobs(tmp_path)


def test_hdtf_layout(tmp_path):
    """Both ways of naming a piece; the lists of its authors say what lacks."""
    for name in ("RD_Radio11_000.mp4", "WDA_BarackObama1_002.mp4", "Radio34_1.mp4", "notes.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "HDTF_dataset").mkdir()
    (tmp_path / "HDTF_dataset" / "RD_annotion_time.txt").write_text(
        "Radio11.mp4 00:30-01:00 01:30-02:30\nRadio34.mp4 00:02-00:30 00:40-00:50\n"
    )
    for cls in (Hdtf, HdtfFrames):
        jobs, missing = cls(data_dir=tmp_path / "out").jobs(tmp_path)
        assert [j.name for j in jobs] == ["RD_Radio11_000.mp4", "Radio34_1.mp4", "WDA_BarackObama1_002.mp4"]
        assert missing == ["RD_Radio11_001.mp4", "RD_Radio34_000.mp4"]
    assert [voice_of(job.name) for job in jobs] == ["Radio11", "Radio34", "BarackObama"]


def test_heldout_clips_are_chosen_by_name(tmp_path):
    for k in range(200):
        (tmp_path / f"{k}.mp4").touch()
    clips = folder_clips(tmp_path)
    held = [c.name for c in clips if c.split == "voice_heldout"]
    assert 8 < len(held) < 40
    assert len({c.voice for c in clips}) == 200
    for k in range(100):
        (tmp_path / f"{k}.mp4").unlink()
    still = [c.name for c in folder_clips(tmp_path) if c.split == "voice_heldout"]
    assert still == [name for name in held if int(name[:-4]) >= 100]


@pytest.mark.parametrize("name", ["lrw", "video_folder", "voxceleb2", "hdtf"])
def test_a_folder_without_clips_is_refused(tmp_path, name):
    cls = builder_class(name)
    with pytest.raises(InputError, match="no clips"):
        cls(data_dir=tmp_path / "out", source=tmp_path).jobs(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        cls(data_dir=tmp_path / "out", source=tmp_path / "none").root()


def test_flags_reach_the_runner():
    """Clusters are not at hand; their options are what Beam's own parser makes of the flags."""
    cases = {
        "DataflowRunner": {"project": "P", "region": "R", "sdk_container_image": "I"},
        "FlinkRunner": {"flink_master": "host:8081", "environment_type": "DOCKER"},
        "SparkRunner": {"spark_master_url": "spark://host:7077"},
    }
    for runner, wanted in cases.items():
        flags = [f"--{name}={value}" for name, value in wanted.items()]
        found = runner_options(runner, 1, flags).get_all_options()
        assert {name: found[name] for name in wanted} == wanted and found["runner"] == runner
    local = runner_options("DirectRunner", 3, []).get_all_options()
    assert (local["direct_num_workers"], local["direct_running_mode"]) == (3, "multi_processing")
    with pytest.raises(InputError, match="--workers=0"):
        runner_options("DirectRunner", 0, [])
