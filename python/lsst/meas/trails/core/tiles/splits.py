# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by the GNU General Public License,
# version 3 or later, that can be found in the LICENSE file.

"""Splitting images into sets for training, validation and tests.

Different splits must share neither visits, whose detectors have the same seeing, sky and satellites, nor
parts of the sky, whose stars and galaxies are the same in every visit. Images that any chain of visits and
overlaps connects form a group; each group goes to one split.
"""

from __future__ import annotations

__all__ = (
    "ImagePlace",
    "SplitError",
    "assign_splits",
    "corners_overlap",
    "drop_overlaps",
    "group_images",
    "image_corners",
)

import dataclasses
import json
import warnings
from collections.abc import Mapping, Sequence

import astropy.io.fits
import astropy.wcs
import numpy as np
import numpy.typing as npt
import scipy.sparse.csgraph
import scipy.spatial

from .layout import SPLITS, TileSource


class SplitError(ValueError):
    """Raised if images cannot be split."""


@dataclasses.dataclass(frozen=True, eq=False)
class ImagePlace:
    """Visit and position of an image."""

    visit: str
    """Name of the visit."""

    corners: npt.NDArray[np.float64] | None
    """Unit vectors of the corners on the sky, in order, shape (4, 3); `None` if unknown, or if no other image
    can share the sky.
    """

    @classmethod
    def of(cls, source: TileSource) -> ImagePlace:
        """Return the place of an image of a tile file.

        A simulated scene, identified by seed and number, has its own sky.
        """
        data_id = source.data_id
        if "visit" not in data_id:
            return cls(visit=json.dumps(data_id, sort_keys=True), corners=None)
        visit = f"{data_id.get('instrument', '')} {data_id['visit']}"
        return cls(visit=visit.strip(), corners=image_corners(source.wcs, source.shape))

    @property
    def center(self) -> tuple[float, float] | None:
        """Right ascension and declination of the center, degrees."""
        if self.corners is None:
            return None
        x, y, z = self.corners.sum(axis=0)
        return float(np.rad2deg(np.arctan2(y, x)) % 360.0), float(np.rad2deg(np.arctan2(z, np.hypot(x, y))))


def image_corners(wcs: str, shape: tuple[int, int]) -> npt.NDArray[np.float64] | None:
    """Return the corners of an image on the sky.

    Parameters
    ----------
    wcs
        FITS header of the WCS, as text.
    shape
        Shape (ny, nx) of the image.

    Returns
    -------
    corners
        Unit vectors in order around the image, shape (4, 3); `None` if the header has no celestial
        projection.
    """
    if not wcs:
        return None
    ny, nx = shape
    x = np.array([0.0, nx, nx, 0.0]) - 0.5
    y = np.array([0.0, 0.0, ny, ny]) - 0.5
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            projection = astropy.wcs.WCS(astropy.io.fits.Header.fromstring(wcs, sep="\n"))
            if not projection.has_celestial:
                return None
            ra, dec = (np.deg2rad(angle) for angle in projection.celestial.all_pix2world(x, y, 0))
    except Exception:
        # Invalid headers raise many types.
        return None
    corners = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    return corners if np.all(np.isfinite(corners)) else None


def corners_overlap(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> bool:
    """Return whether two images share sky.

    Parameters
    ----------
    a, b
        Unit vectors of the corners, in order, shape (4, 3); the images are convex and smaller than a
        hemisphere.

    Notes
    -----
    Two convex polygons are disjoint if an edge of one, a great circle, has the other on its outer side
    (separating axis theorem).
    """
    for polygon, other in ((a, b), (b, a)):
        normals = np.cross(polygon, np.roll(polygon, -1, axis=0))
        # Outward for either orientation of the corners.
        normals *= -np.sign(normals @ polygon.sum(axis=0))[:, None]
        if np.any(np.all(other @ normals.T >= 0.0, axis=0)):
            return False
    return True


def group_images(places: Sequence[ImagePlace], *, by_sky: bool = True) -> npt.NDArray[np.int64]:
    """Return the number of the group of each image, shape (n,).

    Images are in one group if a chain of shared visits or sky connects them.

    Parameters
    ----------
    places
        The images.
    by_sky
        Whether shared sky connects images; otherwise only visits do.
    """
    visits = {name: i for i, name in enumerate(dict.fromkeys(place.visit for place in places))}
    n = len(places)
    # Images and visits are the nodes of a graph.
    pairs = [(i, n + visits[place.visit]) for i, place in enumerate(places)]
    if by_sky:
        pairs += _overlapping(places)
    i, j = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    graph = scipy.sparse.coo_matrix((np.ones(len(i)), (i, j)), shape=(n + len(visits),) * 2)
    _, labels = scipy.sparse.csgraph.connected_components(graph, directed=False)
    _, groups = np.unique(labels[:n], return_inverse=True)
    return np.asarray(groups, dtype=np.int64)


def drop_overlaps(places: Sequence[ImagePlace], splits: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return which images to drop so that no two splits share sky, shape (n,).

    Of two images that share sky, the image of the first split in `SPLITS` is dropped.

    Parameters
    ----------
    places
        The images.
    splits
        Split of each image.
    """
    rank = list(SPLITS)
    dropped = np.zeros(len(places), dtype=bool)
    for i, j in _overlapping(places):
        if splits[i] != splits[j]:
            dropped[min(i, j, key=lambda k: rank.index(splits[k]))] = True
    return dropped


def _overlapping(places: Sequence[ImagePlace]) -> list[tuple[int, int]]:
    """Return the pairs of images that share sky."""
    known = [i for i, place in enumerate(places) if place.corners is not None]
    if len(known) < 2:
        return []
    corners = np.array([places[i].corners for i in known])
    centers = corners.sum(axis=1)
    centers /= np.linalg.norm(centers, axis=1)[:, None]
    radius = float(np.max(np.linalg.norm(corners - centers[:, None, :], axis=2)))
    near = scipy.spatial.KDTree(centers).query_pairs(2.0 * radius)
    return [(known[i], known[j]) for i, j in near if corners_overlap(corners[i], corners[j])]


def assign_splits(
    groups: npt.NDArray[np.int64],
    weights: npt.NDArray[np.int64],
    fractions: Mapping[str, float],
    rng: np.random.Generator,
) -> list[str]:
    """Assign groups of images to splits.

    Parameters
    ----------
    groups
        Number of the group of each image, shape (n,).
    weights
        Number of tiles of each image, shape (n,).
    fractions
        Relative number of tiles for each split.
    rng
        Random numbers for the order of groups of equal size.

    Returns
    -------
    splits
        Name of the split of each image.

    Raises
    ------
    SplitError
        Raised if there are fewer groups than splits.
    """
    wanted = {name: fraction for name, fraction in fractions.items() if fraction > 0.0}
    count = int(groups.max()) + 1 if len(groups) else 0
    if count < len(wanted):
        raise SplitError(
            f"The images form {count} independent groups, fewer than the {len(wanted)} splits; add images "
            "of other visits and fields, or use fewer splits."
        )
    total = float(sum(wanted.values()))
    sizes = np.bincount(groups, weights=weights, minlength=count)
    target = {name: fraction / total * float(sizes.sum()) for name, fraction in wanted.items()}
    filled = dict.fromkeys(wanted, 0.0)
    chosen: dict[int, str] = {}
    # Largest group first, each to the split that lacks the largest fraction;
    # groups of equal size in random order.
    order = rng.permutation(count)
    order = order[np.argsort(-sizes[order], kind="stable")]
    for place, group in enumerate(order):
        empty = [name for name in wanted if name not in chosen.values()]
        # Every split gets a group.
        names = empty if len(empty) >= count - place else list(wanted)
        name = max(names, key=lambda name: (target[name] - filled[name]) / target[name])
        chosen[int(group)] = name
        filled[name] += float(sizes[group])
    return [chosen[int(group)] for group in groups]
