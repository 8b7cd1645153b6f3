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
      norm: normalisation inside the convolution module, layer or group.
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
    norm: str = choice('layer', 'group')
    dropout: float = fraction(0.1)
    scan: bool = False
    remat: str = choice('none', 'dots', 'full')

    def demands(self, path: str) -> Demands:
        """What the fields must satisfy together."""
        yield Demand(self.kernel % 2 == 1, 'kernel', 'be odd')
        yield Demand(
            self.width % (2 * self.heads) == 0,
            'width',
            f'be a multiple of twice {path}.heads ({self.heads}) for the pairs of rotary positions',
        )
