"""The Conformer of `bljust_jax/models/conformer.py` in PyTorch: same layers, same numbers of parameters."""

import torch
from torch import nn
from torch.nn import functional as F

from bljust_jax.config import ConformerConfig


class Conformer(nn.Module):
    """`(features [batch, time, mel], lengths [batch]) -> (hidden [batch, ceil(time / 4), width], lengths)`."""

    def __init__(self, config: ConformerConfig, mels: int) -> None:
        super().__init__()
        self.head_size = config.width // config.heads
        self.subsampling = ConvSubsampling(mels, config.channels, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(ConformerBlock(config) for _ in range(config.layers))

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, lengths = self.subsampling(features, lengths)
        x = self.dropout(x)
        valid = length_mask(lengths, x.shape[1])
        turn = rotation(x.shape[1], self.head_size)
        for block in self.blocks:
            x = block(x, valid, turn)
        return x, lengths


class ConvSubsampling(nn.Module):
    """Two convolutions over time with stride 2 (mels are channels), then a projection."""

    def __init__(self, mels: int, channels: int, width: int, kernel: int = 5) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(inputs, channels, kernel, stride=2, padding=kernel // 2) for inputs in (mels, channels)
        )
        self.project = nn.Linear(channels, width)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = x.transpose(1, 2)
        for convolution in self.convolutions:
            x = F.silu(convolution(x * length_mask(lengths, x.shape[2])[:, None]))
            lengths = (lengths + 1) // 2
        return self.project(x.transpose(1, 2)), lengths


class ConformerBlock(nn.Module):
    """Half feed-forward, self-attention, convolution, half feed-forward, each residual, then LayerNorm."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.before = feed_forward(config)
        self.attention = SelfAttention(config.width, config.heads)
        self.convolution = ConvModule(config.width, config.kernel)
        self.after = feed_forward(config)
        self.norm = layer_norm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: torch.Tensor, valid: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        x = x + 0.5 * self.dropout(self.before(x))
        x = x + self.dropout(self.attention(x, valid, turn))
        x = x + self.dropout(self.convolution(x, valid))
        x = x + 0.5 * self.dropout(self.after(x))
        return self.norm(x)


class SelfAttention(nn.Module):
    """Multi-head self-attention over the valid frames, with rotary positions (`[batch, time, width]`)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = layer_norm(width)
        self.project = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, valid: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        heads = self.project(self.norm(x)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        query, key, value = heads.chunk(3, dim=-1)
        x = F.scaled_dot_product_attention(
            rotary(query, turn), rotary(key, turn), value, attn_mask=valid[:, None, None, :]
        )
        return self.output(x.transpose(1, 2).flatten(2))


class ConvModule(nn.Module):
    """LayerNorm, gated pointwise, depthwise over time, norm, SiLU, pointwise (`[batch, time, width]`)."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.gated = nn.Sequential(layer_norm(width), nn.Linear(width, 2 * width), nn.GLU())
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.output = nn.Sequential(layer_norm(width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        x = self.gated(x) * valid[:, :, None]
        return self.output(self.depthwise(x.transpose(1, 2)).transpose(1, 2))


def feed_forward(config: ConformerConfig) -> nn.Sequential:
    """LayerNorm, expansion, SiLU, projection (`[batch, time, width]`)."""
    width, inner = config.width, config.expansion * config.width
    return nn.Sequential(
        layer_norm(width), nn.Linear(width, inner), nn.SiLU(), nn.Dropout(config.dropout), nn.Linear(inner, width)
    )


def layer_norm(width: int) -> nn.LayerNorm:
    """With the epsilon of Flax."""
    return nn.LayerNorm(width, eps=1e-6)


def length_mask(lengths: torch.Tensor, size: int) -> torch.Tensor:
    """`[batch]` lengths -> bool `[batch, size]`, True at positions below the length."""
    return torch.arange(size) < lengths[:, None]


def rotation(time: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine `[time, size / 2]` of the angles by which `rotary` turns."""
    frequency = 10_000.0 ** (-torch.arange(size // 2) / (size // 2))
    angle = torch.arange(time)[:, None] * frequency
    return angle.cos(), angle.sin()


def rotary(x: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Rotates feature pairs (i, i + size/2) of `x [batch, head, time, size]`."""
    (a, b), (cos, sin) = x.chunk(2, dim=-1), turn
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
