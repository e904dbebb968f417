"""Whatever is in a file, only our own errors leave the program.

A few of each kind in the suite; `python -m tests.fuzz.long` reads as many as are asked for. What
once broke is in `tests.attacks` and read first.
"""

import json
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.attacks import ENDLESS_EPS, corrupt_exif_jpeg, many_scans_jpeg
from tests.fuzz import subjects
from tests.fuzz.pictures import is_whole, whole_pictures
from tests.fuzz.pictures import pictures as damaged_pictures

run = settings(max_examples=60, deadline=None, database=None, derandomize=True)
seeds = st.integers(0, 2**63)


def passed(subject, seed):
    return subject.read(subject.make(random.Random(seed)))


@pytest.fixture(scope="module")
def pictures():
    return damaged_pictures()


@given(seed=seeds)
@run
def test_pictures(pictures, seed):
    passed(pictures, seed)


@pytest.mark.parametrize("data", [ENDLESS_EPS, corrupt_exif_jpeg(), many_scans_jpeg(1000)])
def test_pictures_that_once_did_harm(pictures, data):
    pictures.read(data)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    return subjects.films(tmp_path_factory.mktemp("films"))


@given(seed=seeds)
@run
def test_films(films, seed):
    passed(films, seed)


@pytest.fixture(scope="module")
def configurations(tiny_folder, tmp_path_factory):
    config = json.loads((tiny_folder / "config.json").read_text())
    return subjects.configurations(config, tmp_path_factory.mktemp("fuzzed"))


@given(seed=seeds)
@run
def test_configurations(configurations, seed):
    passed(configurations, seed)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    return subjects.foreign_configurations(tmp_path_factory.mktemp("foreign"))


@given(seed=seeds)
@run
def test_foreign_configurations(foreign, seed):
    passed(foreign, seed)


@pytest.mark.parametrize(
    "text",
    [
        b'diffenc\n{"shape": [8, 8, 3], "score": {"n_layer": 1000000000, "n_embd": 32}}',
        b'diffusers\n{"block_out_channels": [0, 1], "down_block_types": ["DownBlock2D"]}',
        b'diffusers\n{"block_out_channels": [1.5], "sample_size": 1e400}',
        b'scheduler\n{"beta_schedule": ["linear"], "num_train_timesteps": "many"}',
        b'diffenc\n{"encoder": null, "shape": [8, 8, 3], "score": [1]}',
    ],
)
def test_foreign_configurations_that_once_did_harm(foreign, text):
    assert not foreign.read(text)


@given(seed=seeds)
@run
def test_presets(seed):
    passed(subjects.presets(), seed)


@given(number=st.one_of(st.integers(), st.floats(), st.text(max_size=20)))
@example(number=10**400)
@run
def test_numbers(number):
    subjects.presets().read(json.dumps(subjects.PRESET | {"scale": number}).encode())


@pytest.fixture(scope="module")
def slider_files(editor, tmp_path_factory):
    return subjects.slider_files(editor, tmp_path_factory.mktemp("sliders"))


@given(seed=seeds)
@run
def test_slider_files(slider_files, seed):
    passed(slider_files, seed)


def test_what_is_damaged_was_whole_and_some_of_it_can_still_be_read(pictures):
    """Else the tests above would try nothing but the first bytes of a file."""
    assert all(is_whole(data) for data in whole_pictures())
    read = sum(passed(pictures, seed) for seed in range(100))
    assert 20 < read < 90
