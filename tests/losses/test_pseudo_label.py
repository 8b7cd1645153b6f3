"""Which utterances are learnt from, and that CTC passes over the others."""

import jax
import jax.numpy as jnp
import numpy as np
import torch

from bljust_jax.losses import ctc_loss
from bljust_jax.losses.supervised.ctc import ctc_greedy
from bljust_jax.losses.unsupervised.pseudo_label import blank_elsewhere, confident

# Two rows of 8 frames: utterances of 3, 3 and 2 frames; and of 4, then padding.
UTTERANCES = np.array([[0, 0, 0, 1, 1, 1, 2, 2], [0, 0, 0, 0, 1, 1, 1, 1]], np.int32)
LENGTHS = np.array([8, 4])


def logits_of(labels, posterior):
    """Logits of 4 labels in which each frame's label has its posterior, and the others share the rest."""
    labels, posterior = np.asarray(labels), np.asarray(posterior, np.float32)
    shares = np.where(np.eye(4, dtype=bool)[labels], posterior[..., None], (1 - posterior[..., None]) / 3)
    return np.log(shares).astype(np.float32)


LOGITS = logits_of(
    [[1, 0, 2, 3, 3, 0, 0, 0], [2, 0, 0, 1, 3, 3, 3, 3]],
    [[0.9, 0.8, 0.7, 0.5, 0.6, 0.4, 0.99, 0.99], [0.7, 0.7, 0.7, 0.6, 0.3, 0.3, 0.3, 0.3]],
)


def test_an_utterance_is_kept_for_its_mean_largest_posterior_and_if_it_has_labels():
    """The means are 0.8, 0.5 and 0.99, the last of silence; and 0.675."""
    for threshold, expected in [(0.0, [1, 1, 0, 1]), (0.6, [1, 0, 0, 1]), (0.7, [1, 0, 0, 0]), (0.9, [0, 0, 0, 0])]:
        kept, share = confident(LOGITS, LENGTHS, UTTERANCES, 3, threshold)
        one, two, three, other = np.array(expected, bool)
        np.testing.assert_array_equal(kept, [[one] * 3 + [two] * 3 + [three] * 2, [other] * 4 + [False] * 4])
        assert share == (sum(expected), 4)


def test_padding_does_not_matter():
    noise = np.where(np.arange(8)[None, :, None] < LENGTHS[:, None, None], LOGITS, 50.0).astype(np.float32)
    for threshold in (0.0, 0.6, 0.7):
        ours, theirs = (confident(x, LENGTHS, UTTERANCES, 3, threshold) for x in (LOGITS, noise))
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    _, share = confident(LOGITS, np.zeros(2, np.int32), UTTERANCES, 3, 0.5)
    assert share == (0, 0)


def test_utterances_that_are_left_out_drop_out_of_ctc():
    """The loss of a row without its middle utterance is made of PyTorch's of the two that are left."""
    student = np.random.default_rng(0).normal(size=(1, 8, 4)).astype(np.float32)
    kept = np.array([[True] * 3 + [False] * 3 + [True] * 2])
    teacher = logits_of([[1, 0, 2, 3, 3, 0, 1, 1]], np.full((1, 8), 0.9))
    labels, counts = ctc_greedy(blank_elsewhere(teacher, kept), np.array([8]))
    np.testing.assert_array_equal(labels[0, :3], [1, 2, 1])
    assert counts[0] == 3

    def loss(student):
        return ctc_loss(blank_elsewhere(student, kept), jnp.array([8]), labels, counts)[0]

    value, grads = jax.value_and_grad(loss)(student)
    rest = torch.tensor(student[0, :, None], dtype=torch.float64, requires_grad=True)
    before, after = rest[:3], rest[6:]

    def likelihood(frames, labels):
        labels = torch.tensor([labels], dtype=torch.long)
        sizes = (len(frames),), (labels.shape[1],)
        return -torch.nn.functional.ctc_loss(frames.log_softmax(-1), labels, *sizes, reduction='sum')

    wanted = [1, 2, 1]
    # No label goes on across the gap: some of them are read before it, and the others after.
    splits = [likelihood(before, wanted[:cut]) + likelihood(after, wanted[cut:]) for cut in range(1, 4)]
    expected = -torch.stack(splits).logsumexp(0)
    expected.backward()
    np.testing.assert_allclose(value, expected.item(), rtol=1e-5)
    np.testing.assert_allclose(grads[0], rest.grad[:, 0], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(grads)[~kept], 0)
