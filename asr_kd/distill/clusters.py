"""Clusters of labels that a generalist confuses, each the matter of a specialist."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from asr_kd.errors import InputError
from asr_kd.io.atomic import write_text
from asr_kd.labels.label_set import LabelSet

CLUSTERS = "clusters.json"
_FORMAT = "asr_kd.clusters/1"
_MAX_PASSES = 100
_STARTS = 20


@dataclass(frozen=True)
class Clusters:
    """A partition of a label set, or a choice of subsets of it.

    Attributes:
        label_set: the generalist's V labels.
        members: the indices of each cluster's labels, in order.
    """

    label_set: LabelSet
    members: tuple[tuple[int, ...], ...]

    def names(self, number: int) -> list[str]:
        """Labels of a cluster; clusters count from 1."""
        return [self.label_set.names[i] for i in self.members[number - 1]]

    def save(self, folder: Path) -> None:
        """Writes `clusters.json`."""
        content = {
            "format": _FORMAT,
            "clusters": [self.names(k) for k in range(1, len(self.members) + 1)],
            "label_set": self.label_set.to_dict(),
        }
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        write_text(Path(folder) / CLUSTERS, text)

    @classmethod
    def load(cls, folder: Path) -> "Clusters":
        """Reads `clusters.json`, which may as well be written by hand.

        Raises:
            InputError: naming the file and its faults: labels that the label set does not have,
                a label twice in a cluster, a cluster without labels or with all of them.
        """
        file = Path(folder) / CLUSTERS
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if content["format"] != _FORMAT:
                raise InputError(f"{file}: format {content['format']!r}, expected {_FORMAT!r}")
            label_set = LabelSet.from_dict(content["label_set"], str(file))
            clusters = [[str(name) for name in names] for names in content["clusters"]]
        except FileNotFoundError:
            raise InputError(f"{folder}: no {CLUSTERS}; expected the output of cluster-labels") \
                from None  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file}: not a table of clusters ({error!r})") from None
        place = {name: i for i, name in enumerate(label_set.names)}
        faults = []
        for k, names in enumerate(clusters, start=1):
            if unknown := [name for name in names if name not in place]:
                faults.append(f"{file}: cluster {k}: no such labels: {', '.join(unknown)}")
            if len(set(names)) < len(names):
                faults.append(f"{file}: cluster {k}: a label twice")
            if not 0 < len(names) < len(label_set):
                faults.append(f"{file}: cluster {k}: {len(names)} of {len(label_set)} labels")
        if faults:
            raise InputError(faults)
        return cls(label_set, tuple(tuple(sorted(place[n] for n in names)) for names in clusters))

    @classmethod
    def open(cls, cluster: str) -> tuple["Clusters", int]:
        """Reads `DIR:NUMBER`, and gives back the number too.

        Raises:
            InputError: from reading, or where there is no such cluster.
        """
        folder, number = parse_cluster(cluster)
        clusters = cls.load(folder)
        if not 1 <= number <= len(clusters.members):
            raise InputError(f"{cluster}: {folder} has clusters 1 to {len(clusters.members)}")
        return clusters, number


def parse_cluster(cluster: str) -> tuple[Path, int]:
    """`DIR:NUMBER` -> folder and number.

    Raises:
        InputError: for anything else.
    """
    folder, colon, number = cluster.rpartition(":")
    if not colon or not folder or not number.isdecimal():
        raise InputError(f"{cluster}: expected a cluster as DIR:NUMBER, its number from 1 on")
    return Path(folder), int(number)


def cluster_columns(
    covariance: Tensor, num_clusters: int, seed: int
) -> tuple[tuple[int, ...], ...]:
    """On-line K-means on the columns of a covariance (paper, section 5.1).

    A centroid moves as soon as a column joins or leaves its cluster; passes over the columns, in
    random order, go on until none moves. The first centroids are columns drawn far apart
    (k-means++), and of several such starts the one that ends with the smallest distances counts.
    No cluster gets empty: the last column of a cluster stays.

    Columns are scaled to unit length: otherwise a label's column is told from another's by how
    frequent the label is, and all rare ones fall into one cluster around zero.

    Args:
        covariance: (V,V).
        num_clusters: K, from 2 to the number of different columns.
        seed: of the draws.

    Returns:
        The columns of each cluster, clusters in the order of their first columns.

    Raises:
        InputError: for another K.
    """
    columns = torch.nn.functional.normalize(covariance.double().T, dim=1)  # a column a row
    different = len(torch.unique(columns, dim=0))
    if not 2 <= num_clusters <= different:
        raise InputError(
            f"{num_clusters} clusters: expected 2 to {different}, the number of different columns "
            f"in the covariance of the {len(columns)} labels"
        )
    generator = torch.Generator().manual_seed(seed)
    ends = [_online_k_means(columns, num_clusters, generator) for _ in range(_STARTS)]
    labels = min(ends, key=lambda end: end[0])[1]
    clusters = [tuple(torch.nonzero(labels == k).flatten().tolist()) for k in range(num_clusters)]
    return tuple(sorted(clusters))


def _online_k_means(
    columns: Tensor, num_clusters: int, generator: torch.Generator
) -> tuple[float, Tensor]:
    """Sum of squared distances to the centroids, and the cluster of each row."""
    centroids = _far_apart(columns, num_clusters, generator)
    labels = torch.cdist(columns, centroids).argmin(1)
    sums = torch.zeros_like(centroids).index_add_(0, labels, columns)
    counts = labels.bincount(minlength=num_clusters)
    for _ in range(_MAX_PASSES):
        moved = False
        for i in torch.randperm(len(columns), generator=generator).tolist():
            here = int(labels[i])
            there = int((sums / counts[:, None] - columns[i]).square().sum(1).argmin())
            if there == here or counts[here] == 1:
                continue
            for cluster, sign in ((here, -1), (there, 1)):
                sums[cluster] += sign * columns[i]
                counts[cluster] += sign
            labels[i] = there
            moved = True
        if not moved:
            break
    distance = (columns - (sums / counts[:, None])[labels]).square().sum()
    return float(distance), labels


def _far_apart(columns: Tensor, num: int, generator: torch.Generator) -> Tensor:
    """K different rows of (V,V): each is drawn by its squared distance from those before."""
    chosen = [int(torch.randint(len(columns), (1,), generator=generator))]
    while len(chosen) < num:
        nearest = torch.cdist(columns, columns[chosen]).amin(1).square()
        nearest[nearest < 1e-20] = 0.0
        chosen.append(int(torch.multinomial(nearest, 1, generator=generator)))
    return columns[chosen]
