"""k-means by mini-batches (Sculley, WWW 2010) that can be saved after any batch: scikit-learn's, as arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.cluster import MiniBatchKMeans


class KMeans:
    """Centroids that are fitted batch by batch.

    Restored from its `arrays`, it goes on as if it had not stopped: its random draws depend on the seed and on the
    number of batches alone.

    Attributes:
      clusters: their number.
      seed: of the first centroids, drawn from the first batch by k-means++, and of those that move as they are empty.
    """

    def __init__(self, clusters: int, seed: int):
        self.clusters, self.seed = clusters, seed
        self._model = MiniBatchKMeans(clusters, n_init=1, compute_labels=False, batch_size=2**30)

    def update(self, frames: np.ndarray) -> None:
        """Moves the centroids by a batch `[frame, feature]`, float32; the first must have a frame for each cluster.

        Raises:
          ValueError: it has fewer.
        """
        if len(frames) < self.clusters and self.steps == 0:
            raise ValueError(f'{self.clusters} clusters need as many frames in the first batch, not {len(frames)}.')
        self._model._random_state = np.random.RandomState([self.seed, self.steps])
        self._model.partial_fit(frames)

    @property
    def steps(self) -> int:
        """Batches so far."""
        return getattr(self._model, 'n_steps_', 0)

    @property
    def centroids(self) -> np.ndarray:
        """`[cluster, feature]`, float32."""
        return self._model.cluster_centers_

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything that it goes on from, after the first batch."""
        return {'centroids': self.centroids} | {name: np.asarray(getattr(self._model, name)) for name in _STATE}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], seed: int) -> 'KMeans':
        """The one whose `arrays` these are."""
        centroids = arrays['centroids']
        kmeans = cls(len(centroids), seed)
        kmeans.update(centroids)  # which sets up what depends on shapes and threads alone
        kmeans._model.cluster_centers_ = np.array(centroids)
        for name, scalar in _STATE.items():
            value: Any = np.array(arrays[name])
            setattr(kmeans._model, name, int(value) if scalar else value)
        return kmeans


# Attributes of scikit-learn's estimator that one batch leaves to the next, and whether they are numbers.
_STATE = {'_counts': False, '_n_since_last_reassign': True, '_batch_size': True, 'n_steps_': True}
