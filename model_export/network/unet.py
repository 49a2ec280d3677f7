"""The U-Net (Ronneberger et al. 2015, arXiv:1505.04597), with depth, width and stem as parameters.

The original 31.0 M network is `UNet(in_channels=3, base=64, depth=4, max_channels=1024, stem=1, upsample="transpose")`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_export.config import Config


class UNet(nn.Module):
    """Return logits of a radiograph, at its size.

    Args:
        in_channels: input channels (1 is grey; the original network takes 3).
        base: channels of the first level; each level down doubles them, up to ``max_channels``.
        depth: number of downsampling steps.
        max_channels: most channels of a level.
        stem: patch size of a strided convolution before the first level: 1, 2 or 4. It folds each stem x stem block
            into as many channels, so nothing is lost, and all later layers cost stem^2 times less.
        upsample: "bilinear", or "transpose" for learned 2x2 transposed convolutions.
        head: how logits reach full resolution after a stem; without it, mask edges would have steps of the patch size.
            "shuffle" predicts the stem^2 logits of each block from the decoder's features and the folded input, then
            unfolds them (Shi et al. 2016, arXiv:1609.05158). "refine" unfolds features and convolves them together
            with the input at full resolution.
        decoder: how skip connections are merged. "concat" convolves the channels of both twice. "add" projects the
            coarser grid to the level's channels (1x1 convolution), upsamples it, adds the skip connection and
            convolves once, with a sixth of the multiply-adds.
        outputs: logits per pixel.
        convolution: "normal", or "separable" for depthwise separable ones (Howard et al. 2017, arXiv:1704.04861), each
            part with its own batch norm and ReLU. The first convolution and the head stay normal, because they have
            few channels.

    Shape:
        - input: (N, in_channels, H, W), H and W divisible by ``stem * 2**depth``
        - output: (N, outputs, H, W), logits
    """

    def __init__(
        self,
        in_channels: int = 1,
        base: int = 32,
        depth: int = 4,
        max_channels: int = 192,
        stem: int = 4,
        upsample: str = "bilinear",
        head: str = "shuffle",
        convolution: str = "normal",
        decoder: str = "concat",
        outputs: int = 1,
    ) -> None:
        super().__init__()
        choices = {
            "stem": (stem, (1, 2, 4)),
            "upsample": (upsample, ("bilinear", "transpose")),
            "head": (head, ("shuffle", "refine")),
            "convolution": (convolution, ("normal", "separable")),
            "decoder": (decoder, ("concat", "add")),
        }
        for name, (value, known) in choices.items():
            if value not in known:
                raise ValueError(f"{name} is {value!r}; it can be {', '.join(map(repr, known))}")
        self.adds = decoder == "add"
        self.divisor = stem * 2**depth
        widths = [min(base * 2**level, max_channels) for level in range(depth + 1)]

        channels = folded = in_channels * stem**2
        self.stem = nn.Identity() if stem == 1 else nn.Conv2d(in_channels, folded, stem, stride=stem)
        self.encoder = nn.ModuleList()
        inner = _separable if convolution == "separable" else _convolution
        for level, width in enumerate(widths):
            first = inner if level else _convolution
            self.encoder.append(nn.Sequential(*first(channels, width), *inner(width, width)))
            channels = width
        self.up = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for width in reversed(widths[:-1]):
            if upsample == "transpose":
                self.up.append(nn.ConvTranspose2d(channels, width, 2, stride=2))
                channels = width
            else:
                doubling = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
                self.up.append(nn.Sequential(nn.Conv2d(channels, width, 1), doubling) if self.adds else doubling)
            if self.adds:
                self.decoder.append(nn.Sequential(*inner(width, width)))
            else:
                self.decoder.append(nn.Sequential(*inner(channels + width, width), *inner(width, width)))
            channels = width
        self.head: nn.Module
        if stem == 1:
            self.head = _Plain(base, outputs)
        elif head == "shuffle":
            self.head = _Shuffle(base, folded, stem, outputs)
        else:
            self.head = _Refine(base, in_channels, stem, outputs)

    def forward(self, radiograph: Tensor) -> Tensor:
        height, width = radiograph.shape[-2:]
        if height % self.divisor or width % self.divisor:
            raise ValueError(
                f"the input is {height} x {width}; sides must be divisible by {self.divisor}, so pad to "
                f"{-(-height // self.divisor) * self.divisor} x {-(-width // self.divisor) * self.divisor}"
            )
        folded = features = self.stem(radiograph)
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            features = block(functional.max_pool2d(features, 2) if level else features)
            skips.append(features)
        skips.pop()
        for up, block in zip(self.up, self.decoder, strict=True):
            skip, features = skips.pop(), up(features)
            features = block(skip + features if self.adds else torch.cat([skip, features], 1))
        logits: Tensor = self.head(features, folded, radiograph)
        return logits


def build_network(config: Config) -> UNet:
    """Return the newly initialised network of a configuration."""
    return UNet(
        in_channels=config.in_channels,
        base=config.base,
        depth=config.depth,
        max_channels=config.max_channels,
        stem=config.stem,
        upsample=config.upsample,
        head=config.head,
        convolution=config.convolution,
        decoder=config.decoder,
        outputs=len(config.outputs),
    )


class _Plain(nn.Module):
    """Logits without a stem: the first level has full resolution."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.out = nn.Conv2d(channels, outputs, 1)

    def forward(self, features: Tensor, folded: Tensor, radiograph: Tensor) -> Tensor:
        logits: Tensor = self.out(features)
        return logits


class _Shuffle(nn.Module):
    """Logits of each block of the stem, from the decoder's features and the folded radiograph."""

    def __init__(self, channels: int, folded: int, stem: int, outputs: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(*_convolution(channels + folded, channels))
        self.out = nn.Conv2d(channels, outputs * stem**2, 1)
        self.shuffle = nn.PixelShuffle(stem)

    def forward(self, features: Tensor, folded: Tensor, radiograph: Tensor) -> Tensor:
        logits: Tensor = self.shuffle(self.out(self.mix(torch.cat([features, folded], 1))))
        return logits


class _Refine(nn.Module):
    """Logits at full resolution, from the decoder's features and the radiograph."""

    def __init__(self, channels: int, in_channels: int, stem: int, outputs: int, refine: int = 4) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, refine * stem**2, 1)
        self.shuffle = nn.PixelShuffle(stem)
        self.mix = nn.Conv2d(refine + in_channels, 2 * refine, 3, padding=1)
        self.out = nn.Conv2d(2 * refine, outputs, 3, padding=1)

    def forward(self, features: Tensor, folded: Tensor, radiograph: Tensor) -> Tensor:
        fine = torch.cat([self.shuffle(self.expand(features)), radiograph], 1)
        logits: Tensor = self.out(functional.relu(self.mix(fine)))
        return logits


def _convolution(channels: int, width: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]


def _separable(channels: int, width: int) -> list[nn.Module]:
    depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
    mix = nn.Conv2d(channels, width, 1, bias=False)
    return [
        *(depthwise, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)),
        *(mix, nn.BatchNorm2d(width), nn.ReLU(inplace=True)),
    ]
