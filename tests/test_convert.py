"""Foreign checkpoints: names of the full-size models, diffusers, damage, and hostile files."""

import os
import pickle
import zipfile

import pytest
import torch

from pdae_app.bundle import Bundle, load_bundle, save_bundle
from pdae_app.convert.__main__ import main
from pdae_app.convert.diffae import convert_diffae
from pdae_app.convert.dpm import convert_dpm
from pdae_app.convert.errors import ConvertError
from pdae_app.convert.hints import Hints, of_config, of_preset
from pdae_app.convert.infer import latent_config, pooled_config, semantic_config, unet_config
from pdae_app.convert.names import (
    DIFFAE_NAMING,
    latent_names,
    official_shape,
    pooled_names,
    semantic_names,
    shift_names,
    unet_names,
)
from pdae_app.convert.pdae import convert_pdae
from pdae_app.convert.reading import read_checkpoint, read_settings
from pdae_app.diffusion.schedule import Schedule
from pdae_app.engine import Editor
from pdae_app.models.diffae import DiffAE, DiffAEConfig
from pdae_app.models.latent_mlp import LatentMLP
from pdae_app.models.pdae import PDAE, PDAEConfig
from pdae_app.models.presets import preset
from pdae_app.models.unet import UNet, UNetConfig
from pdae_app.ui.session import EXAMPLES
from tests.oracle import filled, flags, manifest, write_diffae, write_pdae

QUIET = Hints(say=lambda line: None)
TINY = Hints(image_size=32, heads=4, dropout=0.1, schedule="linear", say=lambda line: None)


def shapes(keys):
    return {name: tuple(shape) for name, (shape, _) in keys.items()}


def same_names(module, names, expected):
    """Every tensor of ours has an official name and shape, and every official one is ours."""
    state = module.state_dict()
    assert names.keys() == state.keys()
    assert {names[ours]: official_shape(ours, state[ours]) for ours in names} == expected


@pytest.mark.parametrize("name", ["ffhq128", "celeba64"])
def test_every_official_pdae_name_is_ours(name):
    keys = {
        part: shapes(manifest("pdae_manifest_models")[name][part]["keys"])
        for part in ("encoder", "decoder", "unet", "latent")
    }
    encoder = semantic_config(keys["encoder"], QUIET)
    hints = QUIET.filled_from(Hints(encoder.image_size, preset(name).unet.heads, dropout=0.1))
    config = PDAEConfig(unet_config(keys["decoder"], hints), encoder)
    assert config == preset(name)
    with torch.device("meta"):
        model, mlp = PDAE(config), LatentMLP(latent_config(keys["latent"]))
    same_names(model.encoder, semantic_names(model.encoder), keys["encoder"])
    same_names(model.unet, unet_names(model.unet), keys["unet"])
    both = {n: s for n, s in keys["decoder"].items() if n not in keys["unet"]}
    same_names(model.shift, shift_names(model.shift), both)
    latent = {n: s for n, s in keys["latent"].items() if ".cond_layers.1." not in n}
    same_names(mlp, latent_names(mlp), latent)


@pytest.mark.parametrize("name, framing", [("horse128", "center"), ("celeba64", "celeba")])
def test_a_preset_knows_how_its_pictures_were_cropped(name, framing):
    assert of_preset(name).known("framing", "ffhq", "a guess") == framing


def test_every_official_diffae_name_is_ours():
    data = manifest("diffae_manifest")["ffhq128_autoenc last.ckpt state_dict"]
    keys = shapes(data["model_keys"])
    encoder = {n: s for n, s in keys.items() if n.startswith("encoder.")}
    rest = {n: s for n, s in keys.items() if n not in encoder}
    hints = QUIET.filled_from(Hints(image_size=128, heads=1, dropout=0.1))
    config = unet_config(rest, hints, DIFFAE_NAMING.time_embed)
    pooled = pooled_config(encoder, config)
    assert (config.multipliers, config.attention_resolutions) == ((1, 1, 2, 3, 4), (16,))
    assert (pooled.multipliers, pooled.attention_resolutions) == ((1, 1, 2, 3, 4, 4), (16,))
    with torch.device("meta"):
        model = DiffAE(DiffAEConfig(config, pooled))
    same_names(model.unet, unet_names(model.unet, DIFFAE_NAMING), rest)
    same_names(model.encoder, pooled_names(model.encoder), encoder)
    assert sum(p.numel() for p in model.parameters()) == data["n_params_model"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_pdae(tmp_path_factory.mktemp("official"))


@pytest.fixture(scope="module")
def diffae_files(tmp_path_factory):
    return write_diffae(tmp_path_factory.mktemp("official-diffae"))


def test_a_diffae_bundle_serves_the_whole_editor(diffae_files, tmp_path):
    given = flags(diffae_files, "autoencoder", "latent", "classifier", "latents")
    assert main(["diffae", *given, "--half", "--out", str(tmp_path / "b")]) == 0
    editor = Editor.from_pretrained(tmp_path / "b", device="cpu")
    assert editor.stepping == "diffae" and len(editor.attributes) == 40
    code = editor.encode(EXAMPLES[0], steps=5)
    plain = editor.decode(code, steps=5)
    assert plain.tobytes() != editor.edit(code, {"Smiling": 1.0}, steps=5).tobytes()
    assert plain.tobytes() != editor.decode(code, steps=5, scale=0.5).tobytes()
    frames = editor.interpolate(code, code, frames=2, steps=5)
    assert frames[0].tobytes() == frames[1].tobytes() == plain.tobytes()
    assert len(editor.generate([3], steps=5)) == 1
    ours = editor.with_stepping("clean")
    assert ours.decode(ours.encode(EXAMPLES[0], steps=7), steps=7).size == (32, 32)
    with pytest.raises(ValueError, match="take one of 56, 59, 63, 67"):
        editor.encode(EXAMPLES[0], steps=64)


def test_without_statistics_a_diffae_bundle_says_what_it_lacks(diffae_files, tmp_path):
    bundle = convert_diffae(diffae_files["autoencoder"], hints=TINY)
    save_bundle(bundle, tmp_path / "b")
    editor = Editor.from_pretrained(tmp_path / "b", device="cpu")
    code = editor.encode(EXAMPLES[0], steps=5)
    with pytest.raises(ValueError, match="needs the average code"):
        editor.decode(code, steps=5, scale=0.0)
    with pytest.raises(ValueError, match="no latent diffusion model"):
        editor.generate([1])


def test_guesses_are_said(files, tmp_path, capsys):
    assert main(["dpm", *flags(files, "checkpoint"), "--out", str(tmp_path / "b")]) == 0
    said = capsys.readouterr().out
    for guess in ("image_size = 32", "heads = 4", "dropout = 0.1", "schedule = linear"):
        assert f"guess: {guess}" in said
    assert load_bundle(tmp_path / "b").family.name == "dpm"


def test_the_configuration_answers_what_shapes_cannot(files, tmp_path):
    config = tmp_path / "config.yml"
    config.write_text(
        "dataset: {image_size: 32}\nmodel: {num_heads: 2, dropout: 0.2, base_channel: 32}\n"
    )
    given = [*flags(files, "checkpoint"), "--config", str(config), "--out", str(tmp_path / "b")]
    assert main(["dpm", *given]) == 0
    unet = load_bundle(tmp_path / "b").unet.config
    assert (unet.heads, unet.dropout, unet.image_size) == (2, 0.2, 32)
    config.write_text("model: {base_channel: 64}\n")
    with pytest.raises(ConvertError, match="says 64 base channels, the tensors have 32"):
        convert_dpm(files["checkpoint"], QUIET.filled_from(Hints(base_channels=64)))


def test_a_configuration_of_a_billion_aliases_ends(files, tmp_path):
    lines = ["a0: &a0 {num_heads: 4, head_channel: -1}"]
    for i in range(1, 40):
        lines.append(f"a{i}: &a{i} {{" + ", ".join(f"k{j}: *a{i - 1}" for j in range(9)) + "}")
    (tmp_path / "laughs.yml").write_text("\n".join(lines))
    hints = of_config(read_settings(tmp_path / "laughs.yml"))
    assert hints.heads == 4 and hints.head_channels is None


def test_learned_variance_is_left_out(tmp_path):
    """An OpenAI state dict: no wrapping, convolutions that resample, six output channels."""
    config = UNetConfig(
        32, 32, (1, 2), attention_resolutions=(16,), heads=4, resampling="conv", time_scale=False
    )
    unet = UNet(config)
    names, state = unet_names(unet), unet.state_dict()
    tensors = {names[ours]: torch.randn(official_shape(ours, state[ours])) for ours in state}
    last = tensors["out.2.weight"].clone()
    for name in ("out.2.weight", "out.2.bias"):
        tensors[name] = torch.cat([tensors[name], torch.zeros_like(tensors[name])])
    torch.save(tensors, tmp_path / "openai.pt")
    lines = []
    hints = Hints(heads=4, dropout=0.1, schedule="cosine", say=lines.append)
    bundle = convert_dpm(tmp_path / "openai.pt", hints)
    assert any("learned variance" in line for line in lines)
    assert bundle.unet.config == config and bundle.diffusion.schedule == Schedule("cosine")
    assert torch.equal(bundle.unet.decoder.conv_out.weight, last)
    save_bundle(bundle, tmp_path / "b")
    x, t = torch.randn(1, 3, 32, 32), torch.tensor([5])
    assert load_bundle(tmp_path / "b").unet(x, t).isfinite().all()


def test_a_model_without_attention_needs_its_size(tmp_path):
    """As the official MNIST model."""
    unet = UNet(UNetConfig(32, 32, (1, 2), in_channels=1, attention_resolutions=()))
    names, state = unet_names(unet), unet.state_dict()
    tensors = {names[ours]: torch.randn(official_shape(ours, state[ours])) for ours in state}
    torch.save({"ema_denoise_fn": tensors}, tmp_path / "mnist.pt")
    with pytest.raises(ConvertError, match="give --image-size"):
        convert_dpm(tmp_path / "mnist.pt", QUIET)
    assert convert_dpm(tmp_path / "mnist.pt", TINY).unet.config.attention_resolutions == ()


def test_the_new_order_of_attention_is_undone(files):
    """Each head's q, k, v against all q, all k, all v."""
    legacy = convert_dpm(files["checkpoint"], TINY)
    new = convert_dpm(files["checkpoint"], TINY.filled_from(Hints(new_attention=True)))
    ours, theirs = (b.unet.decoder.middle_in.attention.qkv.weight for b in (new, legacy))
    heads, head = 4, 64 // 4
    for h in range(heads):
        for part in range(3):
            row, source = (3 * h + part) * head, (heads * part + h) * head
            assert torch.equal(ours[row : row + head], theirs[source : source + head])


DIFFUSERS = {
    "attention, as google/ddpm-cifar10-32": {
        "sample_size": 16,
        "block_out_channels": (32, 64, 64),
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        "downsample_padding": 0,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "norm_eps": 1e-6,
        "attention_head_dim": None,
    },
    "faces, as google/ddpm-celebahq-256 scaled down": {
        "sample_size": 32,
        "block_out_channels": (32, 32, 64, 64, 128, 128),
        "down_block_types": (*["DownBlock2D"] * 4, "AttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "AttnUpBlock2D", *["UpBlock2D"] * 4),
        "downsample_padding": 0,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "norm_eps": 1e-6,
        "attention_head_dim": None,
    },
    "scale-shift and residual resampling, several heads": {
        "sample_size": 16,
        "block_out_channels": (32, 64),
        "down_block_types": ("ResnetDownsampleBlock2D",) * 2,
        "up_block_types": ("ResnetUpsampleBlock2D",) * 2,
        "resnet_time_scale_shift": "scale_shift",
        "attention_head_dim": 16,
        "norm_num_groups": 16,
        "attn_norm_num_groups": 16,
    },
}


@pytest.mark.parametrize("settings", DIFFUSERS.values(), ids=DIFFUSERS)
def test_a_diffusers_model_gives_the_same_eps(settings, tmp_path):
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    theirs = diffusers.UNet2DModel(**settings).eval().requires_grad_(False)
    for parameter in theirs.parameters():  # off the initial zeros and ones
        parameter.add_(0.05 * torch.randn(parameter.shape))
    theirs.save_pretrained(tmp_path / "model" / "unet")
    diffusers.DDPMScheduler(beta_schedule="linear").save_pretrained(tmp_path / "model/scheduler")
    out = tmp_path / "b"
    assert main(["dpm", "--checkpoint", str(tmp_path / "model"), "--out", str(out)]) == 0
    ours = load_bundle(out).unet
    size = settings["sample_size"]
    x, t = torch.randn(2, 3, size, size), torch.tensor([3, 700])
    torch.testing.assert_close(ours(x, t), theirs(x, t).sample, atol=2e-5, rtol=2e-5)


def test_unknown_diffusers_variants_are_refused(tmp_path):
    (tmp_path / "config.json").write_text(
        '{"_class_name": "UNet2DModel", "sample_size": 16, "block_out_channels": [32],'
        '"down_block_types": ["SkipDownBlock2D"], "up_block_types": ["SkipUpBlock2D"]}'
    )
    with pytest.raises(ConvertError, match="SkipDownBlock2D, SkipUpBlock2D are not known"):
        convert_dpm(tmp_path, QUIET)
    (tmp_path / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
    with pytest.raises(ConvertError, match="text-to-image model: its U-Net wants a prompt"):
        convert_dpm(tmp_path, QUIET)


def damaged(files, tmp_path, change):
    data = torch.load(files["checkpoint"], weights_only=True)["ema_denoise_fn"]
    change(data)
    torch.save({"ema_denoise_fn": data}, tmp_path / "damaged.pt")
    return tmp_path / "damaged.pt"


NAME = "middle_block.0.in_layers.2.weight"
DAMAGE = {
    "missing": (lambda d: d.pop(NAME), f"{NAME} is missing"),
    "extra": (lambda d: d.update(stranger=torch.ones(2)), "stranger is unknown"),
    "misshapen": (lambda d: d.update({NAME: torch.ones(3, 3)}), rf"{NAME} has shape \(3, 3\)"),
    "transposed": (
        lambda d: d.update({"time_embed.0.weight": d["time_embed.0.weight"].T}),
        "transposed",
    ),
    "NaN": (lambda d: d[NAME].fill_(float("nan")), f"{NAME} holds NaN"),
    "integers": (lambda d: d.update({NAME: d[NAME].long()}), f"{NAME} holds torch.int64"),
    "expanded": (lambda d: d.update({NAME: torch.ones(1).expand(10**9)}), "no plain tensors"),
    "no tensor": (lambda d: d.update({NAME: "text"}), "no plain tensors"),
    "no U-Net": (lambda d: d.clear(), "not the tensors of a guided-diffusion U-Net"),
    "by class": (lambda d: d.update({"label_emb.weight": torch.ones(2)}), "told one of 2 classes"),
}


@pytest.mark.parametrize(("change", "message"), DAMAGE.values(), ids=DAMAGE)
def test_damage_is_listed(files, tmp_path, change, message):
    path = damaged(files, tmp_path, change)
    with pytest.raises(ConvertError, match=message):
        convert_dpm(path, TINY)


def test_everything_wrong_is_listed_at_once(files, tmp_path, capsys):
    def change(data):
        data.pop(NAME)
        data["out.0.bias"].fill_(float("inf"))
        data["stranger"] = torch.ones(1)

    path, out = damaged(files, tmp_path, change), tmp_path / "b"
    given = ["--image-size", "32", "--out", str(out)]
    assert main(["dpm", "--checkpoint", str(path), *given]) == 1
    said = capsys.readouterr().err
    for problem in (f"{NAME} is missing", "out.0.bias holds NaN", "stranger is unknown"):
        assert problem in said
    assert not out.exists()


def test_mismatched_companions_are_refused(files, tmp_path):
    torch.save({"mean": torch.zeros(3), "std": torch.ones(3)}, tmp_path / "other.pt")
    autoencoder = files["autoencoder"]
    with pytest.raises(ConvertError, match="lengths 3 and 3, the encoder's codes 64"):
        convert_pdae(autoencoder, latents=tmp_path / "other.pt", hints=TINY)
    with pytest.raises(ConvertError, match="give --latents too"):
        convert_pdae(autoencoder, classifier=files["classifier"], hints=TINY)
    with pytest.raises(ConvertError, match="give --latents too"):
        convert_pdae(autoencoder, latent_dpm=files["latent_dpm"], hints=TINY)
    # The oracle's two U-Nets are filled from the same names, so they are the same model.
    assert convert_pdae(autoencoder, dpm=files["checkpoint"], hints=TINY).family.name == "pdae"
    path = damaged(files, tmp_path, lambda d: d[NAME].add_(1))
    with pytest.raises(ConvertError, match="is not the model that this autoencoder"):
        convert_pdae(autoencoder, dpm=path, hints=TINY)
    with pytest.raises(ConvertError, match="has no ema_encoder or encoder; it holds"):
        convert_pdae(files["checkpoint"], hints=TINY)


class Hostile:
    """A pickle of this writes a file when it is loaded by an unsafe reader."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


def hostile_files(tmp_path, trap):
    for name, save in {
        "zip.pt": lambda path: torch.save({"ema_denoise_fn": Hostile(trap)}, path),
        "old.pt": lambda path: torch.save(
            {"ema_denoise_fn": Hostile(trap)}, path, _use_new_zipfile_serialization=False
        ),
        "bare.pkl": lambda path: path.write_bytes(pickle.dumps(Hostile(trap))),
        "nested.ckpt": lambda path: torch.save({"state_dict": {"a": [Hostile(trap)]}}, path),
        "protocol4.pkl": lambda path: path.write_bytes(pickle.dumps(Hostile(trap), 4)),
    }.items():
        save(tmp_path / name)
        yield tmp_path / name


def test_hostile_pickles_are_refused_in_every_position(files, diffae_files, tmp_path):
    trap = tmp_path / "trapped"
    good, lightning = files["autoencoder"], diffae_files["autoencoder"]
    for path in hostile_files(tmp_path, trap):
        for attempt in (
            lambda p: convert_pdae(p, hints=TINY),
            lambda p: convert_pdae(good, dpm=p, hints=TINY),
            lambda p: convert_pdae(good, latents=p, hints=TINY),
            lambda p: convert_pdae(good, latents=files["latents"], classifier=p, hints=TINY),
            lambda p: convert_pdae(good, latents=files["latents"], latent_dpm=p, hints=TINY),
            lambda p: convert_diffae(p, hints=TINY),
            lambda p: convert_diffae(lightning, latent=p, hints=TINY),
            lambda p: convert_diffae(lightning, classifier=p, hints=TINY),
            lambda p: convert_diffae(lightning, latents=p, hints=TINY),
            lambda p: convert_dpm(p, hints=TINY),
        ):
            with pytest.raises(ConvertError, match=r"refused|damaged"):
                attempt(path)
    assert not trap.exists()
    with open(tmp_path / "bare.pkl", "rb") as file:  # the trap itself works
        pickle.load(file)
    assert trap.exists()


def test_archives_that_claim_too_much_are_refused(tmp_path):
    bomb = tmp_path / "bomb.pt"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", bytes(50_000_000))
    with pytest.raises(ConvertError, match="claims more than it holds"):
        read_checkpoint(bomb)
    old = tmp_path / "old.pt"
    tensors = {"a": torch.zeros(3)}
    torch.save(tensors, old, _use_new_zipfile_serialization=False)
    assert torch.equal(read_checkpoint(old)["a"], torch.zeros(3))
    content = old.read_bytes()
    count = content.index(b"K\x03", content.index(b"cpu"))
    huge = content[:count] + b"\x8a\x05\x00\x00\x00\x00\x10" + content[count + 2 :]
    old.write_bytes(huge)  # a storage of 2^36 numbers
    with pytest.raises(ConvertError, match="claims more than it holds"):
        read_checkpoint(old)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x02", b"PK\x03\x04rubbish"])
def test_rubbish_is_refused(tmp_path, content):
    for suffix in (".pt", ".safetensors"):
        path = tmp_path / f"rubbish{suffix}"
        path.write_bytes(content)
        with pytest.raises(ConvertError, match=r"damaged|refused|no torch file"):
            read_checkpoint(path)


def test_a_truncated_file_is_refused(files, tmp_path):
    whole = files["checkpoint"].read_bytes()
    for part in (0.3, 0.9, 0.999):
        path = tmp_path / "short.pt"
        path.write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(ConvertError, match=r"damaged|refused"):
            read_checkpoint(path)
    with pytest.raises(ConvertError, match="there is no file"):
        read_checkpoint(tmp_path / "nowhere.pt")


def test_a_failed_write_leaves_the_old_bundle(tiny_folder, tmp_path, monkeypatch):
    """Disk full in the middle: the folder is as it was."""
    import shutil

    from pdae_app import bundle as module

    folder = tmp_path / "bundle"
    shutil.copytree(tiny_folder, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        save_bundle(Bundle(load_bundle(folder).unet, load_bundle(folder).diffusion), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_keys_of_the_manifest_are_filled_by_name():
    assert filled({"a.weight": [(2, 3), ""]})["a.weight"].shape == (2, 3)


def test_a_first_level_narrower_than_the_base(tmp_path):
    """As guided-diffusion at 512 px: model_channels 32, channel_mult 0.5, 1; and told a class."""
    config = UNetConfig(
        32,
        16,
        (1, 2),
        attention_resolutions=(16,),
        heads=4,
        emb_channels=128,
        time_channels=32,
    )
    unet = UNet(config).eval()
    names, state = unet_names(unet), unet.state_dict()
    spread = {ours: 0.1 * torch.randn(official_shape(ours, state[ours])) for ours in state}
    tensors = {names[ours]: tensor for ours, tensor in spread.items()}
    tensors["label_emb.weight"] = torch.randn(5, 128)
    torch.save(tensors, tmp_path / "adm512.pt")
    known = Hints(image_size=32, heads=4, dropout=0.1, base_channels=32, say=lambda line: None)
    with pytest.raises(ConvertError, match="told one of 5 classes"):
        convert_dpm(tmp_path / "adm512.pt", known)
    hints = known.filled_from(Hints(class_label="3", schedule="linear"))
    converted = convert_dpm(tmp_path / "adm512.pt", hints).unet
    assert converted.config == config
    bias = converted.encoder.time_embed[2].bias
    assert torch.allclose(bias, tensors["time_embed.2.bias"] + tensors["label_emb.weight"][3])
