import dataclasses

import pytest
import torch

from pdae_app.models.layers import SelfAttention, timestep_embedding
from pdae_app.models.pdae import PDAE, PDAEConfig
from pdae_app.models.presets import PRESETS, preset
from pdae_app.models.semantic import EncoderConfig, SemanticEncoder, paper_channels
from pdae_app.models.unet import SketchConfig, UNet, UNetConfig
from tests.tiny import ENCODER, UNET, tiny_pdae


def test_both_decoders_read_one_encoder_pass():
    model = tiny_pdae()
    x, t, z = torch.randn(2, 3, 16, 16), torch.tensor([3, 70]), torch.randn(2, 8)
    features = model.unet.encoder(x, t)
    output, shift = model(x, t, z)
    assert torch.equal(output, model.unet(x, t)) and output.shape == x.shape
    assert torch.equal(shift, model.shift(features, z)) and shift.shape == x.shape


def test_the_shift_depends_on_the_code_and_the_unet_does_not():
    model = tiny_pdae()
    x, t = torch.randn(1, 3, 16, 16), torch.tensor([50])
    first, second = (model(x, t, torch.randn(1, 8)) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert not torch.allclose(first[1], second[1], atol=1e-4)


def test_fresh_shift_is_zero_so_training_starts_from_the_frozen_model():
    model = PDAE(PDAEConfig(UNET, ENCODER)).eval()
    _, shift = model(torch.randn(1, 3, 16, 16), torch.tensor([5]), torch.randn(1, 8))
    assert not shift.any()


def test_training_mode_leaves_the_frozen_unet_in_evaluation():
    model = tiny_pdae().freeze_unet().train()
    assert model.shift.training and model.encoder.training and not model.unet.training
    assert not any(p.requires_grad for p in model.unet.parameters())


@pytest.mark.parametrize("patch_size", [1, 2, 4])
def test_patches_keep_the_image_size(patch_size):
    config = dataclasses.replace(UNET, patch_size=patch_size)
    x = torch.randn(1, 3, 16, 16)
    assert UNet(config)(x, torch.tensor([0])).shape == x.shape


def test_batch_and_single_agree():
    model = tiny_pdae()
    x, t, z = torch.randn(3, 3, 16, 16), torch.tensor([1, 50, 99]), torch.randn(3, 8)
    together = model(x, t, z)[1]
    alone = torch.cat([model(x[i : i + 1], t[i : i + 1], z[i : i + 1])[1] for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_a_sketch_starts_from_zero_and_then_matters():
    torch.manual_seed(0)
    model = PDAE(PDAEConfig(UNET, ENCODER, sketch=SketchConfig())).eval().requires_grad_(False)
    x, t, z = torch.randn(2, 3, 16, 16), torch.tensor([3, 70]), torch.randn(2, 8)
    assert model.shift.sketch(z).shape == x.shape
    plain = PDAE(PDAEConfig(UNET, ENCODER)).eval()
    state = {k: v for k, v in model.state_dict().items() if ".sketch." not in k}
    plain.load_state_dict(state)
    model.shift.conv_out.weight.normal_()
    plain.shift.conv_out.weight.data.copy_(model.shift.conv_out.weight)
    torch.testing.assert_close(model(x, t, z)[1], plain(x, t, z)[1])
    model.shift.sketch.enter.weight.normal_()
    assert not torch.allclose(model(x, t, z)[1], plain(x, t, z)[1], atol=1e-3)


def test_wrong_sizes_are_errors():
    model = tiny_pdae()
    with pytest.raises(ValueError, match="3 x 16 x 16"):
        model.encoder(torch.zeros(4, 3, 32, 8))
    with pytest.raises(ValueError, match="takes images of shape"):
        model.unet(torch.zeros(1, 3, 8, 8), torch.tensor([0]))
    features = model.unet.encoder(torch.zeros(2, 3, 16, 16), torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="takes z of shape"):
        model.shift(features, torch.zeros(1, 8))
    with pytest.raises(ValueError, match="takes z of shape"):
        model.shift(features)
    with pytest.raises(ValueError, match="takes z of shape None"):
        model.unet.decoder(features, torch.zeros(2, 8))


def test_impossible_architectures_are_errors():
    with pytest.raises(ValueError, match="multiple of 8"):
        UNetConfig(12, 8, (1, 2, 2), patch_size=2)
    with pytest.raises(ValueError, match="power of two"):
        EncoderConfig(48)
    with pytest.raises(ValueError, match="attention heads"):
        SelfAttention(10, heads=3)


@pytest.mark.parametrize("size, depth", [(32, 3), (64, 4), (128, 5), (256, 6)])
def test_encoder_depth_follows_from_the_image_size(size, depth):
    assert len(paper_channels(size)) == depth
    with torch.device("meta"):
        encoder = SemanticEncoder(EncoderConfig(size))
        assert encoder(torch.zeros(1, 3, size, size)).shape == (1, 512)
    assert encoder.config.final_size == 4


def test_every_preset_can_be_built():
    for config in PRESETS.values():
        with torch.device("meta"):
            PDAE(config)
    with pytest.raises(ValueError, match="known: celeba64"):
        preset("celeba65")


def test_attention_is_softmax_of_scaled_products():
    torch.manual_seed(0)
    attention = SelfAttention(8, heads=2)
    for parameter in attention.proj.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, 8, 3, 5)
    tokens = attention.norm(x).flatten(2).transpose(1, 2)
    parts = attention.qkv(tokens).view(2, 15, 2, 3, 4)
    heads = []
    for head in range(2):
        q, k, v = parts[:, :, head].unbind(2)
        heads.append(torch.softmax(q @ k.transpose(1, 2) / 2.0, dim=-1) @ v)
    expected = attention.proj(torch.cat(heads, -1)).transpose(1, 2).reshape(x.shape) + x
    torch.testing.assert_close(attention(x), expected, atol=1e-5, rtol=1e-5)


def test_time_embedding_starts_with_cosines():
    embedding = timestep_embedding(torch.tensor([0, 7]), 6)
    assert torch.equal(embedding[0], torch.tensor([1.0, 1, 1, 0, 0, 0]))
    torch.testing.assert_close(embedding[1, 0], torch.tensor(7.0).cos())
