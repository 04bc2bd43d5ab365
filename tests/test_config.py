"""Settings: limits, canonical text, what depends on the platform."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talkjax import config
from talkjax.errors import InputError

CONFIGS = [
    config.PrepareConfig,
    config.MappingConfig,
    config.RefinerConfig,
    config.FinetuneConfig,
    config.GenerateConfig,
    config.EvaluateConfig,
]


@pytest.mark.parametrize("kind", CONFIGS)
def test_defaults_are_valid_and_survive_json(kind):
    settings = kind().validate()
    assert kind.from_json(settings.to_json()) == settings
    for field in dataclasses.fields(kind):
        assert field.metadata["help"] and not field.metadata["help"].endswith(".")
        assert config.field_type(kind, field.name) in (bool, int, float, str)


@given(
    seed=st.integers(0, 2**31),
    steps=st.none() | st.integers(1, 10**6),
    preset=st.sampled_from(config.PRESETS),
    all_frames=st.booleans(),
)
def test_json_round_trip_and_hash(seed, steps, preset, all_frames):
    settings = config.FinetuneConfig(seed=seed, refiner_steps=steps, preset=preset, all_frames=all_frames)
    again = config.FinetuneConfig.from_json(settings.to_json())
    assert again == settings
    assert config.config_hash(again) == config.config_hash(settings)
    assert config.config_hash(dataclasses.replace(settings, seed=seed + 1)) != config.config_hash(settings)


def test_hash_tells_classes_apart_and_ignores_order():
    assert config.config_hash(config.MappingConfig(steps=9)) != config.config_hash(
        config.RefinerConfig(steps=9)
    )
    assert config.to_json({"b": 1, "a": 2}) == config.to_json({"a": 2, "b": 1}) == '{"a":2,"b":1}'


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: config.GenerateConfig(crf=41),
            "--crf=41 is out of range; expected at least 0 and at most 40",
        ),
        (lambda: config.GenerateConfig(pose_gain=float("nan")), "out of range"),
        (
            lambda: config.GenerateConfig(pose="still"),
            "--pose=still is unknown; expected one of clip, generated",
        ),
        (lambda: config.GenerateConfig(layer="face", compare=True), "--compare shows the video, not a layer"),
        (lambda: config.GenerateConfig(crf="18"), "expected a value of type int"),
        (lambda: config.GenerateConfig(crf=True), "expected a value of type int"),
        (lambda: config.GenerateConfig(preview=1), "expected a value of type bool"),
        (
            lambda: config.PrepareConfig(train_frames=49),
            "--train_frames=49 is out of range; expected at least 50",
        ),
    ],
)
def test_wrong_values_name_their_flag(make, text):
    with pytest.raises(InputError) as error:
        make().validate()
    assert text in str(error.value) and error.value.exit_code == 2


def test_whole_numbers_are_fine_where_a_float_is_wanted():
    assert config.GenerateConfig(pose_gain=1).validate().pose_gain == 1


def test_unknown_setting_in_json_is_an_error():
    text = json.dumps({"crf": 20, "colour": "red"})
    with pytest.raises(InputError, match="GenerateConfig has no setting colour"):
        config.GenerateConfig.from_json(text)


@pytest.mark.parametrize(("n_frames", "train"), [(607, 300), (375, 300), (374, 299), (100, 80), (76, 60)])
def test_default_split_is_80_percent_up_to_300(n_frames, train):
    assert config.PrepareConfig().split(n_frames) == train


def test_split_larger_than_the_clip_is_refused():
    assert config.PrepareConfig(train_frames=100).split(100) == 100
    with pytest.raises(InputError, match=r"99 frames.*--train_frames=100; fix: use --train_frames=79"):
        config.PrepareConfig(train_frames=100).split(99)


def test_preset_follows_the_platform_only_when_auto():
    assert config.FinetuneConfig().refiner("cpu").preset == "lite"
    assert config.FinetuneConfig().refiner("gpu").preset == "default"
    assert config.FinetuneConfig().mapping("gpu").preset == "default"  # small and better everywhere
    assert config.FinetuneConfig(preset="paper").mapping("cpu").preset == "paper"
    assert config.FinetuneConfig(preset="lite").refiner("tpu").preset == "lite"
    chosen = config.FinetuneConfig(mapping_steps=7, refiner_steps=9, seed=3, all_frames=True)
    assert (chosen.mapping().steps, chosen.refiner().steps) == (7, 9)
    assert chosen.mapping().seed == chosen.refiner().seed == 3
    assert chosen.mapping().all_frames and chosen.refiner().all_frames
