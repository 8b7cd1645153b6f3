"""V-PBGD tells wrong labels from right ones."""

import numpy as np
import pytest
from sklearn import gaussian_process, linear_model, metrics

from benchmarks.bilevel import hyper_cleaning

pytestmark = pytest.mark.standard_dtypes


def test_no_digit_is_in_two_splits_and_the_test_split_is_that_of_all_seeds():
    one, other = hyper_cleaning.digits(0, 'pixels'), hyper_cleaning.digits(1, 'pixels')
    np.testing.assert_array_equal(one.test.inputs, other.test.inputs)
    splits = one.clean, one.validation, one.selection, one.test
    assert [len(split.labels) for split in splits] == [800, 300, 300, 397]
    together, whole = np.concatenate([split.inputs for split in splits]), hyper_cleaning.datasets.load_digits().data
    np.testing.assert_array_equal(np.sort(together.ravel()), np.sort(whole.ravel() / 16))
    test = {row.tobytes() for row in one.test.inputs}
    assert all(not test & {row.tobytes() for row in split.inputs} for split in splits[:3])
    assert np.sum(one.polluted.labels != one.clean.labels) == 400
    assert np.sum(hyper_cleaning.is_right(one) != hyper_cleaning.is_right(other)) > 100


def test_the_reference_models_and_scores_are_those_of_scikit_learn():
    """Its C is 1 / (digits x ρ); unlike ours it spares the bias, which is small."""
    data, decay = hyper_cleaning.digits(0, 'pixels'), hyper_cleaning.DECAY['pixels']
    model = hyper_cleaning.fit(np.ones(800), data.clean, decay)
    theirs = linear_model.LogisticRegression(C=1 / (800 * decay), max_iter=1000)
    theirs.fit(data.clean.inputs, data.clean.labels)
    agree = theirs.predict(data.test.inputs) == np.argmax(hyper_cleaning.logits(model, data.test), axis=-1)
    assert agree.mean() > 0.99
    found, right = np.random.default_rng(0).random(800) > 0.3, hyper_cleaning.is_right(data)
    np.testing.assert_allclose(hyper_cleaning.f1(found, right), 100 * metrics.f1_score(right, found))


def test_the_features_make_nearly_a_gaussian_kernel():
    pixels = hyper_cleaning.digits(0, 'pixels').test.inputs[:50]
    features = hyper_cleaning.fourier_features(pixels)
    kernel = 16 * gaussian_process.kernels.RBF(1 / hyper_cleaning.BANDWIDTH)(pixels)
    np.testing.assert_allclose(features @ features.T, kernel, atol=6 * 16 / hyper_cleaning.FEATURES**0.5)


def test_most_of_what_wrong_labels_cost_is_recovered():
    kind = 'pixels'
    data, decay = hyper_cleaning.digits(0, kind), hyper_cleaning.DECAY[kind]
    solve = hyper_cleaning.compile_run('v_pbgd', hyper_cleaning.SETTINGS[kind]['v_pbgd'], decay, data, steps=500)
    found = hyper_cleaning.judge(*solve(data), data, decay)
    models = hyper_cleaning.references(data, kind)
    polluted, clean = (hyper_cleaning.accuracy(models[name], data.test) for name in ('polluted', 'clean'))
    assert clean - polluted > 5
    assert found['refit'] > polluted + 0.8 * (clean - polluted)
    assert found['f1'] > 85
