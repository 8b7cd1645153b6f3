"""A group for each objective that has options, and the teacher that some of them learn from."""

import dataclasses

from bljust_jax.config.fields import (
    Demand,
    Demands,
    checked,
    choice,
    fraction,
    not_negative,
    positive,
    probability,
)


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
class TransducerConfig:
    """The head of the objective `rnnt` (arXiv 1211.3711): a prediction network over labels, and a joiner.

    Attributes:
      prediction: lstm, or stateless: of the last labels alone (arXiv 2109.07513), far cheaper in beam search.
      width: of the embedding of labels, and of the prediction network.
      layers: of the LSTM.
      context: labels that the stateless network sees.
      joint_dim: dimension in which the joiner adds frames and labels.
      dropout: of the prediction network.
      chunk: frames whose logits are held at a time: memory, not the loss, depends on it.
    """

    prediction: str = choice('lstm', 'stateless')
    width: int = positive(256)
    layers: int = positive(1)
    context: int = positive(2)
    joint_dim: int = positive(256)
    dropout: float = fraction(0.1)
    chunk: int = positive(8)


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
      negatives: frames drawn against each true one.
      negatives_from: whose frames they are, of the whole batch or of the same utterance.
      dim: dimension in which prediction and target are compared.
      temperature: softmax temperature on their cosine similarity.
    """

    context_seconds: float = positive(2.0)
    future_seconds: float = positive(1.0)
    negatives: int = positive(50)
    negatives_from: str = choice('batch', 'utterance')
    dim: int = positive(128)
    temperature: float = positive(0.1)


@dataclasses.dataclass(frozen=True)
class Wav2Vec2Config:
    """wav2vec 2.0 (arXiv 2006.11477): masked latents, told from others of the utterance by their quantised selves.

    Attributes:
      mask_probability: chance of a latent frame to begin a masked span.
      mask_frames: length of a masked span, in latent frames; the paper's are of 20 ms, and after subsampling by 4, ours
        are of 40.
      groups, codes: codebooks, and codes in each.
      code_dim: dimension of a quantised frame, all groups together.
      dim: dimension in which prediction and target are compared.
      distractors: other masked frames of the utterance drawn against each true one.
      temperature: softmax temperature κ on their cosine similarities.
      diversity_weight: α of the loss that wants all codes used.
      gumbel_max, gumbel_min, gumbel_decay: the temperature of the Gumbel softmax at step k, `max · decay^k` down to the
        smallest; the paper's run is of 400,000 steps.
    """

    mask_probability: float = probability(0.065)
    mask_frames: int = positive(10)
    groups: int = positive(2)
    codes: int = positive(320)
    code_dim: int = positive(256)
    dim: int = positive(256)
    distractors: int = positive(100)
    temperature: float = positive(0.1)
    diversity_weight: float = not_negative(0.1)
    gumbel_max: float = positive(2.0)
    gumbel_min: float = positive(0.5)
    gumbel_decay: float = checked(0.999995, lambda value: 0 < value <= 1, 'be in (0, 1]')

    def demands(self, path: str) -> Demands:
        """What the fields must satisfy together."""
        yield Demand(self.code_dim % self.groups == 0, 'code_dim', f'be a multiple of {path}.groups ({self.groups})')
        yield Demand(
            self.gumbel_min <= self.gumbel_max, 'gumbel_min', f'be at most {path}.gumbel_max ({self.gumbel_max})'
        )


@dataclasses.dataclass(frozen=True)
class HubertConfig:
    """HuBERT (arXiv 2106.07447): masked prediction of the k-means units of clean speech.

    Attributes:
      units: file of the units, made by `python -m bljust_jax.units`.
      layer: what the units are clusters of: 0 for MFCC, or a layer of the teacher, a run, from 1.
      mask_probability: chance of a latent frame to begin a masked span.
      mask_frames: length of a masked span, in latent frames.
      dim: dimension in which prediction and units are compared.
      temperature: softmax temperature on their cosine similarities.
      unmasked_weight: of the loss on the other frames; 1 for theirs to count like the masked ones.
    """

    units: str = ''
    layer: int = not_negative(0)
    mask_probability: float = probability(0.08)
    mask_frames: int = positive(10)
    dim: int = positive(256)
    temperature: float = positive(0.1)
    unmasked_weight: float = not_negative(0.0)


@dataclasses.dataclass(frozen=True)
class Data2VecConfig:
    """data2vec (arXiv 2202.03555): masked regression of the teacher's layers on all of the speech.

    Attributes:
      layers: how many of the teacher's top layers the target is the mean of.
      beta: error at which the loss turns from a parabola into a line; 0 for the squared error.
      mask_probability: chance of a latent frame to begin a masked span.
      mask_frames: length of a masked span, in latent frames.
    """

    layers: int = positive(4)
    beta: float = not_negative(0.0)
    mask_probability: float = probability(0.065)
    mask_frames: int = positive(10)


@dataclasses.dataclass(frozen=True)
class PseudoLabelConfig:
    """CTC on the labels that the teacher gives (arXiv 2010.11524, 2106.08922).

    Attributes:
      confidence: utterances count whose largest posterior per frame is at least this in the mean; 0 keeps all.
      train_head: the upper level's head learns from these labels too, as the encoder does; in a bilevel problem it
        belongs to the upper level alone.
    """

    confidence: float = probability(0.9)
    train_head: bool = False


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
