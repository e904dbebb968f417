"""Slider files, whole and crafted."""

import json
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file, save_file

from pdae_app import cli
from pdae_app.bundle import load_bundle, network_identity, save_bundle
from pdae_app.engine import Editor
from pdae_app.engine.checks import is_number
from pdae_app.engine.preset import parse_sliders
from pdae_app.engine.sliders import load_slider_for, save_slider_for
from pdae_app.latents.slider_file import FORMAT, SliderFileError
from tests.tiny import tiny_bundle


@pytest.fixture(scope="module")
def fitted(editor):
    codes = [editor.draw(seed, steps=5).code for seed in range(12)]
    return editor.fit_attribute("Grin", codes[:6], codes[6:])


@pytest.fixture
def crafted(editor, fitted, tmp_path):
    """Write the fitted slider with changed facts and tensors."""

    def craft(facts=None, **tensors):
        attribute = asdict(fitted.attribute) | (facts or {})
        metadata = {
            "format": FORMAT,
            "encoder": network_identity(editor.bundle.model.encoder),
            "attribute": json.dumps(attribute) if isinstance(facts, dict | None) else facts,
        }
        path = tmp_path / "grin.safetensors"
        save_slider_for(editor.bundle, fitted, path)
        save_file(load_file(path) | tensors, path, metadata)
        return path

    return craft


def test_a_slider_comes_back_as_it_was(editor, fitted, tmp_path):
    save_slider_for(editor.bundle, fitted, tmp_path / "grin.safetensors")
    again = load_slider_for(editor.bundle, tmp_path / "grin.safetensors")
    assert abs(again.weight - fitted.weight).max() < 1e-5
    assert again.attribute.bias == pytest.approx(fitted.attribute.bias, abs=1e-5)


@pytest.mark.parametrize(
    "facts",
    [
        {"auroc": "x"},
        {"auroc": 3},
        {"bias": 10**400},
        {"bias": 1e30},
        {"bias": None},
        {"bias": 100_000},
        {"positive_logit": "many"},
        {"positive_logit": None},
        {"positive_logit": 1e5},
        {"unit": 1e5},
        {"positives": 1.5},
        {"name": 5},
        {"name": ""},
        {"name": "<img src=x>"},
        {"name": "a" * 41},
        {"surplus": 1},
    ],
    ids=str,
)
def test_crafted_facts_are_a_sentence(editor, crafted, facts):
    with pytest.raises(SliderFileError, match="damaged"):
        load_slider_for(editor.bundle, crafted(facts))


@pytest.mark.parametrize(
    "tensors",
    [
        {"weight": torch.zeros(8)},
        {"direction": torch.zeros(8)},
        {"direction": torch.full((8,), 1e30)},
        {"weight": torch.full((8,), float("nan"))},
        {"direction": torch.zeros(8, 1)},
        {"direction": torch.zeros(0)},
        {"weight": torch.zeros(8, dtype=torch.complex64)},
        {"weight": torch.zeros(8, dtype=torch.bfloat16)},
        {"weight": torch.zeros(8, dtype=torch.float8_e5m2)},
        {"weight": torch.ones(8, dtype=torch.bool)},
    ],
    ids=str,
)
def test_crafted_tensors_are_a_sentence(editor, crafted, tensors):
    with pytest.raises(SliderFileError):
        load_slider_for(editor.bundle, crafted(**tensors))


def test_a_direction_that_leads_away_from_all_codes_is_refused(editor, fitted, crafted):
    """It raises its own logit by 1 and goes a million times as far in other ways."""
    tensors = load_file(crafted())
    weight = tensors["weight"]
    across = torch.randn(8, dtype=weight.dtype)
    across -= weight * (across @ weight) / (weight @ weight)
    with pytest.raises(SliderFileError, match="away from all codes"):
        load_slider_for(editor.bundle, crafted(direction=tensors["direction"] + 1e3 * across))


@pytest.mark.parametrize("value", [10**400, -(10**400), float("nan"), float("inf"), True, "1"])
def test_what_is_no_usable_number(value):
    assert not is_number(value)


def test_a_number_of_four_hundred_digits_is_a_sentence(editor):
    from pdae_app.engine import EditError

    for values in ({"Smiling": 10**400}, f'{{"Smiling": {10**400}}}', {"Smiling": 10**5000}):
        with pytest.raises(EditError, match="out of range"):
            parse_sliders(values, editor.attributes)


def test_adding_a_slider_changes_no_weight(fitted, editor, tmp_path, capsys):
    folder = tmp_path / "bundle"
    save_bundle(tiny_bundle(), folder, torch.float32)
    networks = [f"{name}.safetensors" for name in ("unet", "encoder", "shift", "prior")]
    before = {name: (folder / name).read_bytes() for name in networks}
    own = Editor.from_pretrained(folder, device="cpu")
    save_slider_for(own.bundle, fitted, tmp_path / "grin.safetensors")
    arguments = ["add-slider", str(tmp_path / "grin.safetensors"), "--model", str(folder)]
    assert cli.main(arguments) == 0, capsys.readouterr().err
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert load_bundle(folder).latents.names == ["Smiling", "Male", "Grin"]
    # It fits the bundle that it was put into.
    load_slider_for(load_bundle(folder), tmp_path / "grin.safetensors")
