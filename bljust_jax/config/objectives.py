"""A group for each objective that has options, and the teacher that some of them learn from."""

import dataclasses

from bljust_jax.config.fields import Demand, Demands, checked, fraction, not_negative, positive, probability


@dataclasses.dataclass(frozen=True)
class CtcConfig:
    """CTC (Graves et al., ICML 2006), alone or in hybrid.

    Attributes:
      intermediate_layers: layers of the encoder, from 1, whose outputs the same head is trained on (arXiv 2102.03216).
      intermediate_weight: of the mean of their losses; that of the last layer's is the rest.
      label_smoothing: weight of the divergence of the frames' posteriors from the uniform distribution
        (arXiv 1711.02212); that of CTC is the rest.
    """

    intermediate_layers: tuple[int, ...] = checked((), lambda layers: all(layer > 0 for layer in layers), 'be positive')
    intermediate_weight: float = fraction(0.3)
    label_smoothing: float = fraction(0.0)


@dataclasses.dataclass(frozen=True)
class AttentionDecoderConfig:
    """A Transformer decoder (arXiv 1706.03762), alone (attention) or together with CTC (hybrid, arXiv 1609.06773).

    Attributes:
      layers, width, heads: blocks, model dimension, attention heads.
      expansion: feed-forward width as a multiple of `width`.
      dropout: dropout rate, embeddings and residual branches.
      label_smoothing: share of every label's target that is spread over all labels (arXiv 1512.00567).
      ctc_weight: of CTC's loss in hybrid; that of the decoder's is the rest.
    """

    layers: int = positive(2)
    width: int = positive(128)
    heads: int = positive(4)
    expansion: int = positive(4)
    dropout: float = fraction(0.1)
    label_smoothing: float = fraction(0.1)
    ctc_weight: float = probability(0.3)

    def demands(self, path: str) -> Demands:
        """What the fields must satisfy together."""
        yield Demand(self.width % self.heads == 0, 'width', f'be a multiple of {path}.heads ({self.heads})')
        yield Demand(self.width % 2 == 0, 'width', 'be even, for the sines and cosines of positions')


@dataclasses.dataclass(frozen=True)
class BestRqConfig:
    """BEST-RQ (arXiv 2202.01855): masked prediction of frozen random-projection codes.

    Attributes:
      codebooks, codebook_size, code_dim: random quantisers, entries in each, dimension of an entry.
      mask_probability: chance of an encoder frame to begin a masked span.
      mask_frames: length of a masked span, in encoder frames.
      noise: standard deviation of the noise that replaces masked features.
      seed: seed of the quantiser (frozen, so part of the task's definition).
    """

    codebooks: int = positive(1)
    codebook_size: int = positive(1024)
    code_dim: int = positive(16)
    mask_probability: float = probability(0.04)
    mask_frames: int = positive(10)
    noise: float = not_negative(0.1)
    seed: int = not_negative(0)


@dataclasses.dataclass(frozen=True)
class CpcConfig:
    """CPC (arXiv 1807.03748) on windows of past and future, as in arXiv 2401.06980.

    Attributes:
      context_seconds, future_seconds: a window's past, and the future predicted from it frame by frame.
      negatives: frames of the whole batch drawn against each true one.
      dim: dimension in which prediction and target are compared.
      temperature: softmax temperature on their cosine similarity.
    """

    context_seconds: float = positive(2.0)
    future_seconds: float = positive(1.0)
    negatives: int = positive(50)
    dim: int = positive(128)
    temperature: float = positive(0.1)


@dataclasses.dataclass(frozen=True)
class TeacherConfig:
    """Whom objectives with a teacher learn from: another run, frozen, or the student's moving average.

    Attributes:
      workdir: folder of the trained run whose best checkpoint teaches; empty with a moving average.
      momentum: of the moving average (mean teacher, arXiv 1703.01780), such as 0.999; 0 if a run is the teacher.
    """

    workdir: str = ''
    momentum: float = fraction(0.0)

    def demands(self, path: str) -> Demands:
        """What the fields must satisfy together."""
        yield Demand(
            not (self.workdir and self.momentum),
            'momentum',
            f'be 0 with {path}.workdir={self.workdir}: a run is the teacher, or a moving average',
        )


@dataclasses.dataclass(frozen=True)
class DistillationConfig:
    """Distillation from the teacher.

    Attributes:
      feature_weight: of the distance between hidden frames, the student's projected by the level's head.
      posterior_weight: of the divergence between CTC posteriors; 0 leaves them out, and the teacher may then have
        another vocabulary.
      temperature: of these posteriors (arXiv 1503.02531).
    """

    feature_weight: float = not_negative(1.0)
    posterior_weight: float = not_negative(1.0)
    temperature: float = positive(1.0)

    def demands(self, path: str) -> Demands:
        """What the fields must satisfy together."""
        yield Demand(
            self.feature_weight + self.posterior_weight > 0,
            'feature_weight',
            f'be positive if {path}.posterior_weight is 0',
        )
