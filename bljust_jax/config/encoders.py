"""A group for each encoder."""

import dataclasses

from bljust_jax.config.fields import Demand, Demands, choice, fraction, positive


@dataclasses.dataclass(frozen=True)
class ConformerConfig:
    """Conformer (arXiv 2005.08100), after convolutional subsampling by 4.

    Attributes:
      layers, width, heads, kernel: blocks, model dimension, attention heads, depthwise kernel.
      expansion: feed-forward width as a multiple of `width`.
      channels: channels of the convolutional subsampling.
      positions: how attention knows positions: rotary (arXiv 2104.09864), or none, from convolutions alone.
      norm: normalisation inside the convolution module: layer, of each frame, or group, over frames and `groups` of
        channels.
      dropout: dropout rate, residual branches.
      scan: compile one block and loop over it: for deep models on accelerators.
      remat: what a block computes again in the backward pass instead of keeping it: none; dots, all but the products
        with weights; or full, everything.
    """

    layers: int = positive(8)
    width: int = positive(128)
    heads: int = positive(4)
    expansion: int = positive(4)
    kernel: int = positive(15)
    channels: int = positive(256)
    positions: str = choice('rotary', 'none')
    norm: str = choice('layer', 'group')
    groups: int = positive(1)
    dropout: float = fraction(0.1)
    scan: bool = False
    remat: str = choice('none', 'dots', 'full')

    def demands(self, path: str) -> Demands:
        """What the fields must satisfy together."""
        yield Demand(self.kernel % 2 == 1, 'kernel', 'be odd')
        yield Demand(self.width % self.groups == 0, 'groups', f'divide {path}.width ({self.width})')
        yield whole_heads(self.width, self.heads, self.positions, path)


@dataclasses.dataclass(frozen=True)
class FastConformerConfig(ConformerConfig):
    """FastConformer (arXiv 2305.05084): a Conformer after subsampling by 8, with short kernels. Fields as there.

    Its large model, of 115 M parameters, has 18 layers of width 512 and 8 heads.
    """

    kernel: int = positive(9)


@dataclasses.dataclass(frozen=True)
class EBranchformerConfig:
    """E-Branchformer (arXiv 2210.00077), after convolutional subsampling by 4.

    Its large model, of 149 M parameters with a decoder, has 17 layers of width 512 and 8 heads.

    Attributes:
      layers, width, heads: blocks, model dimension, attention heads.
      expansion: feed-forward width as a multiple of `width`.
      gate_expansion: the same of the gating MLP, which gates one half of it by the other.
      kernel, merge_kernel: of the depthwise convolutions in the gate and where the branches are merged.
      channels: channels of the convolutional subsampling.
      positions, dropout, scan, remat: as in `ConformerConfig`.
    """

    layers: int = positive(8)
    width: int = positive(128)
    heads: int = positive(4)
    expansion: int = positive(2)
    gate_expansion: int = positive(6)
    kernel: int = positive(31)
    merge_kernel: int = positive(31)
    channels: int = positive(256)
    positions: str = choice('rotary', 'none')
    dropout: float = fraction(0.1)
    scan: bool = False
    remat: str = choice('none', 'dots', 'full')

    def demands(self, path: str) -> Demands:
        """What the fields must satisfy together."""
        for kernel in ('kernel', 'merge_kernel'):
            yield Demand(getattr(self, kernel) % 2 == 1, kernel, 'be odd')
        yield whole_heads(self.width, self.heads, self.positions, path)


def whole_heads(width: int, heads: int, positions: str, path: str) -> Demand:
    """Of the features, which are divided among the heads, and turned in pairs by rotary positions."""
    if positions == 'none':
        return Demand(width % heads == 0, 'width', f'be a multiple of {path}.heads ({heads})')
    return Demand(
        width % (2 * heads) == 0,
        'width',
        f'be a multiple of twice {path}.heads ({heads}) for the pairs of rotary positions',
    )


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """Transformer as in wav2vec 2.0 (arXiv 2006.11477), after convolutional subsampling by 4.

    Attributes:
      layers, width, heads: blocks, model dimension, attention heads.
      expansion: feed-forward width as a multiple of `width`.
      kernel, groups: of the convolution that tells positions.
      channels: channels of the convolutional subsampling.
      norm: norms behind the residual branches (post, the Base model) or before them (pre, the Large one).
      dropout: dropout rate, residual branches.
      scan: compile one block and loop over it: for deep models on accelerators.
      remat: what a block computes again in the backward pass instead of keeping it: none; dots, all but the products
        with weights; or full, everything.
    """

    layers: int = positive(8)
    width: int = positive(128)
    heads: int = positive(4)
    expansion: int = positive(4)
    kernel: int = positive(128)
    groups: int = positive(16)
    channels: int = positive(256)
    norm: str = choice('post', 'pre')
    dropout: float = fraction(0.1)
    scan: bool = False
    remat: str = choice('none', 'dots', 'full')

    def demands(self, path: str) -> Demands:
        """What the fields must satisfy together."""
        for name, parts in (('heads', self.heads), ('groups', self.groups)):
            yield Demand(self.width % parts == 0, 'width', f'be a multiple of {path}.{name} ({parts})')


@dataclasses.dataclass(frozen=True)
class LstmConfig:
    """LSTM layers after convolutional subsampling by 4.

    Attributes:
      layers, width: recurrent layers, and the dimension that each sees and makes.
      bidirectional: half of `width` runs backward over the utterance.
      channels: channels of the convolutional subsampling.
      norm: of every layer's output, layer or none.
      dropout: dropout rate, on every layer's output.
      scan: compile one layer and loop over it.
      remat: what a layer computes again in the backward pass instead of keeping it: none; dots, all but its products;
        or full, everything.
    """

    layers: int = positive(4)
    width: int = positive(256)
    bidirectional: bool = True
    channels: int = positive(256)
    norm: str = choice('layer', 'none')
    dropout: float = fraction(0.1)
    scan: bool = False
    remat: str = choice('none', 'dots', 'full')

    def demands(self, path: str) -> Demands:
        """What the fields must satisfy together."""
        yield Demand(
            not (self.bidirectional and self.width % 2), 'width', f'be even with {path}.bidirectional, a half for each'
        )
