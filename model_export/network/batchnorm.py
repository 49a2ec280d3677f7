"""Batch norm whose statistics are those of all processes together, on any device.

PyTorch's SyncBatchNorm does this on GPUs alone; with it, and with this on CPUs, several processes train exactly as one.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class SharedBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` over the batches of all processes, which must be of one size.

    Shape:
        - input and output: (N, channels, H, W)
    """

    def forward(self, features: Tensor) -> Tensor:
        if not self.training:
            return super().forward(features)
        count = features.numel() // features.shape[1] * dist.get_world_size()
        exact = features.float()
        mean = all_reduce(exact.sum((0, 2, 3))) / count
        centred = exact - mean[:, None, None]
        variance = all_reduce(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            momentum = 0.1 if self.momentum is None else self.momentum
            for running, batch in ((self.running_mean, mean), (self.running_var, variance * (count / (count - 1)))):
                if running is not None:
                    running.lerp_(batch, momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        scaled = centred * (self.weight * torch.rsqrt(variance + self.eps))[:, None, None]
        return (scaled + self.bias[:, None, None]).to(features.dtype)


def share(module: nn.Module) -> None:
    """Replace every batch norm of ``module`` by one that all processes share, its weights and statistics kept."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            shared = SharedBatchNorm(child.num_features, child.eps, child.momentum)
            shared.load_state_dict(child.state_dict())
            setattr(module, name, shared)
        else:
            share(child)
