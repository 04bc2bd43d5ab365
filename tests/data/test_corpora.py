"""Corpora as TFDS builders: without TensorFlow, what goes in comes out; damage and changes are noticed."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import sys

import numpy as np
import pytest

from talkjax.data.corpora import builder_class
from talkjax.data.corpora.base import FrameBuilder
from talkjax.data.corpora.corpus import SpeechItems, corpus_digest, mapping_scales
from talkjax.data.corpora.frame_jobs import write_frames
from talkjax.data.corpora.generated_speech import GeneratedSpeech
from talkjax.data.corpora.index import verify_files
from talkjax.data.mapping_batches import corpus_scales, make_items
from talkjax.data.preparation import Job, do_job, settle
from talkjax.data.refiner_rows import RefinerRows, refiner_sizes
from talkjax.data.speech_corpus import SpeechCorpus
from talkjax.errors import InputError
from talkjax.infer.descriptors import N_FEATURES, N_VALUES
from talkjax.infer.training_data import RefinerData, error_weight

GOLDEN = pathlib.Path(__file__).parents[1] / "goldens" / "speech_corpus"
SIZE, FRAMES = 32, 50


@pytest.fixture(scope="module", autouse=True)
def without_tensorflow():
    """Nothing here, building or reading, may import TensorFlow, installed or not."""
    assert "tensorflow" not in sys.modules
    yield
    assert "tensorflow" not in sys.modules


@pytest.fixture(scope="module")
def speech(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("speech")
    GeneratedSpeech(source=GOLDEN, data_dir=folder).build()
    return folder


def people(number: int) -> RefinerData:
    """Smooth random pictures of one person."""
    rng = np.random.default_rng(number)
    low = rng.integers(0, 256, (4, FRAMES, 4, 4, 3)).repeat(8, 2).repeat(8, 3)
    bare, many, one, target = (low // 2 + low.mean((2, 3), keepdims=True) / 2).astype(np.uint8)
    region = rng.integers(-1, 4, (FRAMES, SIZE, SIZE)).astype(np.int8)
    weight = np.stack([error_weight(r) for r in region])
    valid = np.arange(FRAMES) % 10 != 9
    features = rng.normal(size=(FRAMES, N_FEATURES)).astype(np.float32)
    values = rng.normal(size=(FRAMES, N_VALUES)).astype(np.float32)
    return RefinerData(bare, many, one, target, region, weight, valid, features, values)


@dataclasses.dataclass(frozen=True)
class RandomJobs:
    """Prepares random people; the one of number 2 is rejected, every other by a Python error."""

    def ready(self) -> None:
        pass

    def key(self, job: Job) -> str:
        return f"{job.name} of seed {job.facts['number']}"

    def prepare(self, job: Job, result: pathlib.Path, key: str) -> int:
        if job.facts["number"] == 2:
            raise InputError("nobody is there", code="no_face")
        write_frames(result, people(job.facts["number"]), key)
        return FRAMES

    def intact(self, result: pathlib.Path, key: str) -> bool:
        return result.exists()


class RandomPeople(FrameBuilder, skip_registration=True):
    name = "random_people"

    def root(self, dl_manager=None) -> pathlib.Path:
        return self.out

    def jobs(self, root):
        splits = ("train", "identity_heldout", "train", "train")
        return [Job(f"person{k}", split, {"number": k}) for k, split in enumerate(splits)], []

    def preparer(self, root):
        return RandomJobs()


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> dict[str, pathlib.Path]:
    folders = {}
    for pictures in ("jpeg", "raw"):
        out = tmp_path_factory.mktemp(pictures)
        builder = RandomPeople(
            size=SIZE, n_frames=FRAMES, pictures=pictures, max_reject_ratio=0.3, data_dir=out
        )
        folders[pictures] = builder.build()
    return folders


def test_utterances_come_back(speech):
    for split in ("train", "voice_heldout"):
        items, before = SpeechItems(speech, split), list(SpeechCorpus.open(GOLDEN).select(split))
        assert len(items) == len(before) == 1
        assert items.voices == [before[0].voice] and items.lengths.tolist() == [len(before[0])]
        found = items.utterance(0)
        for field in dataclasses.fields(found):
            a, b = getattr(found, field.name), getattr(before[0], field.name)
            if isinstance(a, np.ndarray):
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b)
            else:
                assert a == b, field.name


def test_scales_are_those_of_the_utterances(speech):
    items = list(make_items(SpeechCorpus.open(GOLDEN).select("train"), 1, 0))
    exp = np.concatenate([i.exp[i.valid] for i in items])
    for scales in (mapping_scales(speech), mapping_scales(GOLDEN), corpus_scales(items)):
        np.testing.assert_allclose(scales.mean[7:], exp.mean(0), atol=1e-5)
        np.testing.assert_allclose(scales.scale[7:], np.maximum(exp.std(0), 0.04), atol=1e-5)
        np.testing.assert_allclose(scales.gap_scale, (exp @ scales.gap).std(), rtol=1e-3)


def test_the_corpus_has_a_digest(speech, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(speech, copy)
    assert corpus_digest(copy) == corpus_digest(speech) != corpus_digest(GOLDEN)
    file = next(copy.rglob("*train.array_record*"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    SpeechItems(copy)  # as long as before: seen only by reading through
    with pytest.raises(InputError, match=r"train\.array_record.*is damaged"):
        verify_files(file.parent)
    file.write_bytes(data[:-100])
    with pytest.raises(InputError, match=r"is damaged.*expected \d+ bytes.*build it again"):
        SpeechItems(copy)


def test_other_sources_are_noticed(speech, tmp_path):
    shutil.copytree(GOLDEN, tmp_path / "source")
    manifest = tmp_path / "source" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(InputError, match="written from other clips"):
        GeneratedSpeech(source=tmp_path / "source", data_dir=speech).build()
    assert GeneratedSpeech(source=GOLDEN, data_dir=speech).build().exists()


def test_what_is_no_corpus_is_refused(speech, frames, tmp_path):
    with pytest.raises(InputError, match=r"no finished corpus.*docs/corpora\.md"):
        SpeechItems(tmp_path)
    with pytest.raises(InputError, match=r"refiner corpus.*expected a mapping corpus"):
        SpeechItems(frames["raw"])
    with pytest.raises(InputError, match=r"splits train.*expected a mapping corpus with nothing"):
        SpeechItems(speech, "nothing")
    with pytest.raises(InputError, match=r"corpus 'lrv'.*expected lrw, voxceleb2, hdtf, video_folder"):
        builder_class("lrv")


def test_frames_come_back(frames):
    assert refiner_sizes(frames["raw"]) == (SIZE, N_FEATURES, N_VALUES, 2, 2 * FRAMES)
    assert refiner_sizes(frames["raw"], "identity_heldout").identities == 1
    exact = RefinerRows(frames["raw"], batch=4, seed=0, augment=False)
    close = RefinerRows(frames["jpeg"], batch=4, seed=0, augment=False)
    train = (people(0), people(3))
    seen = set()
    for row in range(90):  # one epoch of the 90 usable frames
        k = exact.place(row // 4, row % 4)
        seen.add(k)
        data, t = train[k // FRAMES], k % FRAMES
        found, jpeg = exact(row // 4, row % 4), close(row // 4, row % 4)
        window = np.concatenate([data.bare[max(t - d, 0)] for d in (2, 1, 0)], -1)
        for name, image in (("window", window), ("many", data.many[t]), ("one", data.one[t])):
            np.testing.assert_array_equal(getattr(found.inputs, name), image)
            error = np.abs(getattr(jpeg.inputs, name).astype(int) - image)
            assert error.mean() < 3, name
        np.testing.assert_array_equal(found.target, data.target[t])
        np.testing.assert_array_equal(found.inputs.region, data.region[t])
        np.testing.assert_array_equal(found.weight, data.weight[t])
        np.testing.assert_array_equal(found.inputs.features, data.features[t])
        np.testing.assert_array_equal(found.values, data.values[t])
    usable = np.arange(2 * FRAMES) % 10 != 9
    assert seen == set(np.flatnonzero(usable))
    # people are far apart for the memory, frames of one are neighbours
    source = [exact._source[k] for k in (0, 1, FRAMES - 1, FRAMES)]
    assert source[1] == source[0] + 1 and source[3] - source[2] > 20


def test_rejected_people_are_listed(frames):
    out = frames["jpeg"].parents[1]
    assert "no_face" in (out / "rejects.jsonl").read_text()
    assert (out / "rejects.jsonl").read_text().count("\n") == 1


def test_jobs_are_kept_and_crashes_end(tmp_path):
    job = Job("clip", "train", {"number": 0})
    assert not do_job(RandomJobs(), tmp_path, job)["kept"]
    assert do_job(RandomJobs(), tmp_path, job)["kept"]
    changed = dataclasses.replace(job, facts={"number": 1})
    assert not do_job(RandomJobs(), tmp_path, changed)["kept"]

    class Dies(RandomJobs):
        def prepare(self, job, result, key):
            raise SystemExit(9)  # as a crash: nothing behind it is run

    other = Job("other", "train", {"number": 1})
    for _ in range(3):
        with pytest.raises(SystemExit):
            do_job(Dies(), tmp_path, other)
    with pytest.raises(InputError, match=r"1 of 2 clips are not prepared.*run the same command again"):
        settle(tmp_path, [job, other], [], 0.2)
    assert do_job(Dies(), tmp_path, other)["code"] == "crashes"
    assert settle(tmp_path, [job, other], ["gone"], 0.5)["rejected"] == {"crashes": 1, "missing": 1}
    with pytest.raises(InputError, match="none of the 1 clips"):
        settle(tmp_path, [other], [], 1.0)
