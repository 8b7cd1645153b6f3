"""k-means that stops and goes on."""

import io

import numpy as np
import pytest
from sklearn.cluster import MiniBatchKMeans

from bljust_jax.clustering import KMeans


def batches(count=6, size=40):
    """Batches from 4 well-kept clusters of 3 features."""
    rng = np.random.default_rng(0)
    centres = 20 * np.eye(4, 3) + 5
    return [(centres[rng.integers(0, 4, size)] + rng.normal(size=(size, 3))).astype(np.float32) for _ in range(count)]


def through_a_file(arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    return dict(np.load(file, allow_pickle=False))


@pytest.mark.parametrize('clusters', [4, 25])
@pytest.mark.parametrize('stop', [1, 3, 5])
def test_saved_and_restored_it_goes_on_bit_for_bit(clusters, stop):
    """Of 25 clusters some stay empty, and are moved to frames drawn at random."""
    whole, first = KMeans(clusters, 7), KMeans(clusters, 7)
    for batch in batches():
        whole.update(batch)
    for batch in batches()[:stop]:
        first.update(batch)
    second = KMeans.restore(through_a_file(first.arrays()), 7)
    assert second.steps == stop
    for batch in batches()[stop:]:
        second.update(batch)
    assert second.steps == 6
    np.testing.assert_array_equal(second.centroids, whole.centroids)


def test_it_is_that_of_scikit_learn():
    """From the same first centroids, without moving any."""
    kmeans = KMeans(4, 0)
    first, *rest = batches()
    kmeans.update(first)
    theirs = MiniBatchKMeans(4, init=kmeans.centroids.copy(), n_init=1)
    again = KMeans.restore(kmeans.arrays() | {'_counts': np.zeros(4, np.float32)}, 0)
    for batch in rest:
        theirs.partial_fit(batch)
        again.update(batch)
    np.testing.assert_allclose(again.centroids, theirs.cluster_centers_, rtol=1e-5)


def test_it_finds_the_clusters():
    kmeans = KMeans(4, 0)
    for batch in batches(30):
        kmeans.update(batch)
    distances = np.linalg.norm(kmeans.centroids[:, None] - (20 * np.eye(4, 3) + 5), axis=-1)
    assert sorted(distances.argmin(axis=1)) == [0, 1, 2, 3] and distances.min(axis=1).max() < 0.5


def test_the_first_batch_must_be_large_enough():
    with pytest.raises(ValueError, match='50 clusters need as many frames in the first batch, not 40'):
        KMeans(50, 0).update(batches()[0])
