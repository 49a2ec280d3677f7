"""The network's shapes, including the original one."""

from __future__ import annotations

import pytest
import torch

from model_export.config import ORIGINAL, Config, read_config
from model_export.network.unet import UNet, build_network
from model_export.sweeps.timing import count_gigaflops, count_million_weights


def test_original_network_is_a_configuration() -> None:
    network = build_network(ORIGINAL)
    weights = sum(parameter.numel() for parameter in network.parameters())
    assert round(weights / 1e6, 1) == 31.0
    widths = [block[0].out_channels for block in network.encoder]
    assert widths == [64, 128, 256, 512, 1024]


@pytest.mark.parametrize("stem", [1, 2, 4])
@pytest.mark.parametrize("upsample", ["bilinear", "transpose"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("head", ["shuffle", "refine"])
def test_logits_have_the_inputs_size(stem: int, upsample: str, channels: int, head: str) -> None:
    network = UNet(channels, base=4, depth=2, max_channels=8, stem=stem, upsample=upsample, head=head).eval()
    assert network(torch.zeros(2, channels, 64, 96)).shape == (2, 1, 64, 96)


@pytest.mark.parametrize("convolution", ["normal", "separable"])
@pytest.mark.parametrize("decoder", ["concat", "add"])
@pytest.mark.parametrize("upsample", ["bilinear", "transpose"])
def test_every_weight_gets_a_gradient(convolution: str, decoder: str, upsample: str) -> None:
    network = UNet(
        base=4, depth=3, max_channels=8, upsample=upsample, convolution=convolution, decoder=decoder, outputs=2
    )
    network(torch.randn(2, 1, 64, 64)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        # A bias before ReLUs may get no gradient for one input, a weight should.
        assert parameter.ndim == 1 or parameter.grad.abs().sum() > 0, name


def test_default_network_has_a_sixth_of_the_multiply_adds_and_two_outputs() -> None:
    before = read_config({"base": 32, "max_channels": 192})
    assert count_gigaflops(Config(), 512) < count_gigaflops(before, 512) / 5
    assert count_million_weights(Config()) < 1.2
    assert build_network(Config()).eval()(torch.zeros(1, 1, 64, 64)).shape == (1, 2, 64, 64)


def test_older_settings_keep_their_network() -> None:
    """Earlier versions had a concatenating decoder and predicted lung only."""
    config = read_config({"base": 8, "depth": 2, "max_channels": 16, "sources": ["montgomery"]})
    assert (config.decoder, config.outputs, config.sources) == ("concat", ("lung",), ("montgomery",))
    assert build_network(config).eval()(torch.zeros(1, 1, 32, 32)).shape == (1, 1, 32, 32)


def test_wrong_size_error_names_a_valid_size() -> None:
    with pytest.raises(ValueError, match="divisible by 64, so pad to 128 x 64"):
        UNet(stem=4, depth=4)(torch.zeros(1, 1, 100, 64))


@pytest.mark.parametrize(
    "wrong", [{"stem": 3}, {"upsample": "cubic"}, {"head": "none"}, {"convolution": "wide"}, {"decoder": "sum"}]
)
def test_wrong_settings_are_named(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        UNet(**wrong)


@pytest.mark.parametrize(("head", "reach"), [("shuffle", 8), ("refine", 3)])
def test_head_uses_the_radiograph(head: str, reach: int) -> None:
    """With fixed decoder features, one pixel of the radiograph changes only the logits around it."""
    torch.manual_seed(0)
    network = UNet(base=4, depth=1, max_channels=8, stem=4, head=head).eval()
    features = torch.randn(1, 4, 8, 8)
    plain, dotted = torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    dotted[..., 17, 17] = 5
    logits = [network.head(features, network.stem(image), image)[0, 0] for image in (plain, dotted)]
    change = (logits[1] - logits[0]).abs() > 1e-6
    assert change[17, 17]
    assert not change[: 17 - reach].any()
    assert not change[:, 17 + reach :].any()


def test_pixels_of_a_block_have_separate_logits() -> None:
    """Within one block of the coarse grid the logits differ, so edges have no steps."""
    torch.manual_seed(0)
    logits = UNet(base=4, depth=1, max_channels=8, stem=4).eval()(torch.randn(1, 1, 32, 32))
    assert logits[0, 0, 8:12, 8:12].unique().numel() == 16
