import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from bljust_jax.data.text import CharTokenizer
from bljust_jax.probe import probe_layer
from tests.probe.made import made_outputs

pytestmark = pytest.mark.standard_dtypes  # Adam and its cosine schedule

LETTERS = CharTokenizer('abc')


def test_with_a_label_and_a_frame_to_a_row_it_is_softmax_regression():
    random = np.random.default_rng(0)
    classes = random.integers(0, 3, 300)
    frames = (random.standard_normal((3, 4))[classes] + random.standard_normal((300, 4))).astype(np.float32)
    texts = ['abc'[index] for index in classes]
    outputs = made_outputs({2: [frames[:, None]]}, [np.ones(300)], [texts], LETTERS)
    score = probe_layer(outputs, outputs, 2, LETTERS, steps=1000)
    reference = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(frames, classes)
    expected = log_loss(classes, reference.predict_proba(frames))
    assert score.loss == score.train_loss
    np.testing.assert_allclose(score.loss, expected, atol=0.01)
    np.testing.assert_allclose(score.cer, 1 - reference.score(frames, classes), atol=0.02)
    assert (score.layer, score.width) == (2, 4)


def spelt(tell: bool):
    """Two batches with an empty row; each letter is two frames and a pause, which tell it or do not, in any scale."""
    random = np.random.default_rng(1)
    texts = [[''.join(random.choice(list('abc'), 4)) for _ in range(20)] for _ in range(2)]
    texts[1][-1] = ''
    batches = []
    for rows in texts:
        ids = np.array([['abc'.find(letter) for letter in text.ljust(4)] for text in rows])
        known = np.repeat(np.eye(4)[ids], 3, axis=1)
        known[:, 2::3] = np.eye(4)[3]  # a pause, or the same letter twice would be one
        frames = known if tell else random.standard_normal(known.shape)
        batches.append((100 * frames + 1000).astype(np.float32))
    return made_outputs({0: batches}, [[12] * 20, [12] * 19 + [0]], texts, LETTERS)


def test_it_reads_what_is_there_whatever_the_scale():
    score = probe_layer(spelt(True), spelt(True), 0, LETTERS)
    assert score.loss < 0.1 and score.cer < 0.02


def test_it_cannot_read_noise():
    assert probe_layer(spelt(False), spelt(False), 0, LETTERS).cer > 0.4


def test_the_same_outputs_give_the_same_score():
    outputs = spelt(True)
    assert probe_layer(outputs, outputs, 0, LETTERS, steps=7) == probe_layer(outputs, outputs, 0, LETTERS, steps=7)
