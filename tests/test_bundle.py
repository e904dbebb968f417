import json
import pickle
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from pdae_app.bundle import BundleError, load_bundle, save_bundle
from pdae_app.engine import EditError, Editor
from pdae_app.hub import local_folder
from pdae_app.latents.affine import AffineEdit, AffineSide
from pdae_app.latents.typical import Typical
from tests.tiny import tiny_bundle

NOWHERE = {"left": 0.5, "top": 0.5, "right": 0.501, "bottom": 0.9}
CLEARING = {"attribute": "Male", "up": True, "readily": 2, "region": NOWHERE | {"right": 1}}


@pytest.fixture
def folder(tmp_path):
    save_bundle(tiny_bundle(), tmp_path / "bundle", dtype=torch.float32)
    return tmp_path / "bundle"


def test_round_trip(folder):
    ours, again = tiny_bundle(), load_bundle(folder)
    for (name, a), (other, b) in zip(
        ours.model.state_dict().items(), again.model.state_dict().items(), strict=True
    ):
        assert name == other and torch.equal(a, b)
    assert again.diffusion == ours.diffusion and again.model.config == ours.model.config
    assert again.latents.attributes == ours.latents.attributes
    assert torch.equal(again.latents.directions, ours.latents.directions)
    assert not again.model.training and not any(p.requires_grad for p in again.model.parameters())


def test_what_is_typical_travels_with_the_bundle(tmp_path):
    save_bundle(replace(tiny_bundle(), typical=Typical(1.3, 2.0)), tmp_path / "bundle")
    assert load_bundle(tmp_path / "bundle").typical == Typical(1.3, 2.0)
    config = json.loads((tmp_path / "bundle" / "config.json").read_text())
    config["typical"]["distance"] = -1
    (tmp_path / "bundle" / "config.json").write_text(json.dumps(config))
    with pytest.raises(BundleError, match="above 0"):
        load_bundle(tmp_path / "bundle")


def test_affine_edits_travel_with_the_bundle(tmp_path):
    bundle, side = tiny_bundle(), AffineSide("Smiling", up=True, rank=3)
    dim = len(bundle.latents.mean)
    parts = [torch.randn(shape) for shape in side.shapes(dim).values()]
    edited = replace(bundle.latents, affine=(AffineEdit(side, *parts),))
    save_bundle(replace(bundle, latents=edited), tmp_path / "bundle")
    again = load_bundle(tmp_path / "bundle").latents
    assert again.affine[0].side == side and again.attributes == edited.attributes
    code = torch.randn(dim)
    ours, theirs = (space.move(code, {"Smiling": 1.0}) for space in (edited, again))
    torch.testing.assert_close(theirs, ours, atol=2e-2, rtol=1e-2)  # half precision
    for strength, same in ((1.0, False), (-1.0, True)):
        slider, plain = {"Smiling": strength}, bundle.latents
        assert torch.allclose(again.move(code, slider), plain.move(code, slider)) == same


def test_a_bad_attribute_is_told(folder):
    config = json.loads((folder / "config.json").read_text())
    config["attributes"][1]["bias"] = "much"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BundleError, match=r"attributes\[1\]\.bias must be a number"):
        load_bundle(folder)


def test_half_precision_on_disk_is_float32_in_memory(tmp_path):
    save_bundle(tiny_bundle(), tmp_path / "half")
    loaded = load_bundle(tmp_path / "half")
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    half, full = tmp_path / "half" / "unet.safetensors", tmp_path / "full"
    save_bundle(tiny_bundle(), full, dtype=torch.float32)
    assert half.stat().st_size < 0.7 * (full / "unet.safetensors").stat().st_size


def test_overwriting_keeps_other_files_and_changes_the_identity(folder):
    before = load_bundle(folder).identity
    (folder / "README.md").write_text("card")
    save_bundle(tiny_bundle(seed=1), folder)
    assert (folder / "README.md").read_text() == "card"
    assert load_bundle(folder).identity != before
    assert [p.name for p in folder.parent.iterdir()] == ["bundle"]  # nothing half-written is left


def test_a_failing_write_leaves_the_old_bundle(folder, monkeypatch):
    before = load_bundle(folder).identity

    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pdae_app.bundle.save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_bundle(tiny_bundle(seed=1), folder)
    monkeypatch.undo()
    assert load_bundle(folder).identity == before
    assert [p.name for p in folder.parent.iterdir()] == ["bundle"]


def flip_bit(path):
    """Near the end of the file: in a weight."""
    data = bytearray(path.read_bytes())
    data[-4] ^= 1
    path.write_bytes(data)


def without_checksums(folder):
    """As bundles were before they had any."""
    change_config(folder, lambda config: config.pop("sha256", None))


def change_tensors(folder, part, change):
    without_checksums(folder)
    tensors = load_file(folder / f"{part}.safetensors")
    change(tensors)
    save_file(tensors, folder / f"{part}.safetensors")


def missing_tensor(folder):
    change_tensors(folder, "unet", lambda t: t.pop("encoder.conv_in.bias"))


def extra_tensor(folder):
    change_tensors(folder, "shift", lambda t: t.update(surplus=torch.zeros(1)))


def wrong_shape(folder):
    change_tensors(folder, "encoder", lambda t: t.update({"linear.bias": torch.zeros(3)}))


def not_finite(folder):
    change_tensors(folder, "encoder", lambda t: t["linear.bias"].fill_(float("nan")))


def missing_file(folder):
    (folder / "shift.safetensors").unlink()


def truncated_file(folder):
    path = folder / "unet.safetensors"
    path.write_bytes(path.read_bytes()[:-50])


def pickled_file(folder):
    (folder / "unet.safetensors").write_bytes(pickle.dumps({"a": 1}))


def no_config(folder):
    (folder / "config.json").unlink()


def broken_config(folder):
    (folder / "config.json").write_text("{")


def change_config(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def misspelt_key(folder):
    change_config(folder, lambda c: c["unet"].update(base_chanels=8))


def future_format(folder):
    change_config(folder, lambda c: c.update(format=99))


def foreign_latents(folder):
    change_tensors(folder, "latents", lambda t: t.update(mean=torch.zeros(99)))


@pytest.mark.parametrize(
    "damage, message",
    [
        (missing_tensor, "unet.safetensors: encoder.conv_in.bias is missing"),
        (extra_tensor, "shift.safetensors: surplus is unknown"),
        (wrong_shape, r"encoder.safetensors: linear.bias has shape \(3,\), expected \(8,\)"),
        (not_finite, "encoder.safetensors: linear.bias holds NaN"),
        (missing_file, "shift.safetensors is missing"),
        (truncated_file, "unet.safetensors is damaged"),
        (pickled_file, "unet.safetensors is damaged"),
        (no_config, "no config.json"),
        (broken_config, "not a bundle's configuration"),
        (misspelt_key, "did you mean 'base_channels'"),
        (future_format, "format 99"),
        (foreign_latents, r"latents.safetensors: mean has shape \(99,\)"),
    ],
)
def test_damaged_bundles_are_told_in_full(folder, damage, message):
    damage(folder)
    with pytest.raises(BundleError, match=message):
        Editor.from_pretrained(folder, device="cpu")


def test_all_problems_are_listed_at_once(folder):
    missing_tensor(folder)
    wrong_shape(folder)
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    assert "conv_in.bias" in str(caught.value) and "linear.bias" in str(caught.value)


def test_an_unconditional_model_is_no_editor(tmp_path):
    bundle = tiny_bundle()
    bundle.model = bundle.latents = bundle.prior = None
    save_bundle(bundle, tmp_path / "dpm")
    assert load_bundle(tmp_path / "dpm").model is None
    with pytest.raises(EditError, match="train PDAE on it first"):
        Editor.from_pretrained(tmp_path / "dpm", device="cpu")


def test_a_prior_without_codes_is_refused(tmp_path):
    bundle = tiny_bundle()
    bundle.latents = None
    with pytest.raises(BundleError, match="the prior needs the statistics"):
        save_bundle(bundle, tmp_path / "b")
    assert not list(tmp_path.iterdir())


def test_neither_folder_nor_repository(monkeypatch):
    with pytest.raises(BundleError, match="no folder"):
        local_folder("nothing here")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BundleError, match="could not be fetched"):
        local_folder("nobody/nothing-of-that-name")


def float32_weights(folder):
    return {name: load_file(folder / f"{name}.safetensors") for name in ("unet", "encoder")}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_bundle_is_written_as_it_was_read(tmp_path, dtype):
    save_bundle(tiny_bundle(), tmp_path / "a", dtype)
    before = float32_weights(tmp_path / "a")
    save_bundle(load_bundle(tmp_path / "a"), tmp_path / "a")
    after = float32_weights(tmp_path / "a")
    for part, tensors in before.items():
        for name, tensor in tensors.items():
            assert after[part][name].dtype == dtype and torch.equal(after[part][name], tensor)


def test_weights_that_do_not_fit_are_not_written(folder):
    bundle, before = load_bundle(folder), load_bundle(folder).identity
    bundle.model.encoder.linear.bias[0] = 1e6  # infinite in float16
    with pytest.raises(BundleError, match=r"encoder\.safetensors: linear\.bias holds NaN or inf"):
        save_bundle(bundle, folder, torch.float16)
    assert load_bundle(folder).identity == before


def at_depth(config, path, value):
    *parents, last = path.split(".")
    for name in parents:
        config = config[int(name) if name.isdigit() else name]
    config[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("unet.res_blocks", 10**9, "res_blocks must be between 1 and 64"),
        ("unet.multipliers", [1] * 10**5, "multipliers may have 16 entries"),
        ("unet.base_channels", -8, "base_channels must be between"),
        ("unet.heads", 3, "cannot be split into 3"),
        ("unet.norm_eps", "1e999", "finite number"),
        ("unet.norm_eps", 10**400, "must be a number"),
        ("unet.image_size", 10**4000, "image_size must be between"),
        ("encoder.z_dim", 10**12, "z_dim must be between"),
        ("prior.mlp.layers", 10**9, "layers must be between"),
        ("prior.mlp", None, "must be a mapping"),
        ("prior", 3, "prior takes"),
        ("diffusion.schedule.timesteps", 10**12, "timesteps must be between"),
        ("attributes", 5, "attributes must be a list"),
        ("attributes.0.auroc", "x", "must be a number"),
        ("attributes.0.auroc", 7, "auroc must be between 0 and 1"),
        ("attributes.0.bias", float("nan"), "finite number"),
        ("attributes.0.name", "Male", "two attributes have the same name"),
        ("affine", 5, "affine must be a list"),
        ("affine", [{"attribute": "Wings", "up": True}], "no attribute with medians"),
        ("affine", [{"attribute": "Male", "up": True, "rank": 10**9}], "rank must be between"),
        ("affine", [{"attribute": "Male", "up": True}] * 2, "one side of an attribute twice"),
        ("affine", [{"attribute": "Male", "up": True}], "left is missing"),
        ("clearings", {}, "clearings must be a list"),
        ("clearings", [CLEARING | {"attribute": "Wings"}], "no attribute with medians"),
        ("clearings", [CLEARING | {"readily": 10**9}], "readily must be between"),
        ("clearings", [CLEARING | {"region": NOWHERE}], r"clearings\[0\].region: it holds none"),
        ("stepping", ["clean"], "unknown stepping"),
        ("framing", {}, "unknown framing"),
        ("info", [], "info must be a mapping"),
        ("format", [2], "format"),
    ],
)
def test_a_hostile_configuration_is_a_sentence(folder, path, value, message):
    change_config(folder, lambda config: at_depth(config, path, value))
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(folder)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"format": 2, "info": ' + "[" * 50 + "]" * 50 + "}"], ids=len
)
def test_a_configuration_of_endless_depth_is_a_sentence(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(BundleError, match="not a bundle's configuration"):
        load_bundle(folder)


def test_codes_that_do_not_vary_are_a_sentence(folder):
    change_tensors(folder, "latents", lambda t: t["std"].zero_())
    with pytest.raises(BundleError, match="std holds a number that is not above 0"):
        load_bundle(folder)


@pytest.mark.parametrize("part", ["unet", "encoder", "shift", "prior", "latents"])
def test_a_flipped_bit_is_told(folder, part):
    flip_bit(folder / f"{part}.safetensors")
    with pytest.raises(BundleError, match=rf"{part}\.safetensors is damaged"):
        load_bundle(folder)
    without_checksums(folder)
    load_bundle(folder)  # which is why there are checksums


def test_checksums_name_no_other_files(folder, tmp_path):
    (tmp_path / "secret").write_text("")
    sums = {"../secret": "0", "/etc/passwd": "0", "config.json": "0", "none.safetensors": "0"}
    change_config(folder, lambda config: config["sha256"].update(sums))
    assert load_bundle(folder).family.name == "pdae"
    change_config(folder, lambda config: config.update(sha256=[1]))
    with pytest.raises(BundleError, match="sha256 must be a mapping"):
        load_bundle(folder)
