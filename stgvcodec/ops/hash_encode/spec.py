"""The shape of a multiresolution hash grid: everything that fixes where a vertex's features lie in the table."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property

# Factors of the hash for the axes x, y and t, those of Mueller et al. 2022 (arXiv 2201.05989), Eq. (4).
HASH_PRIMES = (1, 2654435761, 805459861)
MAX_FEATURES_PER_LEVEL = 8
MAX_LOG2_HASHMAP_SIZE = 30
# Largest number of cells along an axis, well below the number that float32 positions can tell apart.
MAX_RESOLUTION = 2**20


@dataclass(frozen=True)
class HashGridSpec:
    """Levels of a hash grid over [0, 1]^n_dims; its integers come from the GoP header.

    Attributes:
        n_features_per_level: Number of features of a vertex, F, in 1..8.
        log2_hashmap_size: Binary logarithm, in 1..30, of the largest number of entries of a level, T.
        resolutions: Number of cells of each level along each axis (x, y) or (x, y, t), [n_levels][n_dims], each in
            1..2**20.

    Raises:
        ValueError: an attribute lies outside these ranges, or levels differ in their number of axes.
    """

    n_features_per_level: int
    log2_hashmap_size: int
    resolutions: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not 1 <= self.n_features_per_level <= MAX_FEATURES_PER_LEVEL:
            raise ValueError(
                f"n_features_per_level is {self.n_features_per_level}, expected 1..{MAX_FEATURES_PER_LEVEL}"
            )
        if not 1 <= self.log2_hashmap_size <= MAX_LOG2_HASHMAP_SIZE:
            raise ValueError(f"log2_hashmap_size is {self.log2_hashmap_size}, expected 1..{MAX_LOG2_HASHMAP_SIZE}")
        if not self.resolutions:
            raise ValueError("resolutions is empty, expected one tuple of cells per axis for each level")
        if {len(level) for level in self.resolutions} not in ({2}, {3}):
            raise ValueError(f"resolutions {self.resolutions} must have 2 axes on every level, or 3 on every level")
        if not all(1 <= cells <= MAX_RESOLUTION for level in self.resolutions for cells in level):
            raise ValueError(f"resolutions {self.resolutions} must all lie in 1..{MAX_RESOLUTION}")

    @property
    def n_levels(self) -> int:
        """Number of levels, L."""
        return len(self.resolutions)

    @property
    def n_dims(self) -> int:
        """Number of axes of a position, 2 or 3."""
        return len(self.resolutions[0])

    @property
    def n_features(self) -> int:
        """Length of an encoding, L * F."""
        return self.n_levels * self.n_features_per_level

    @cached_property
    def level_entries(self) -> tuple[int, ...]:
        """Table rows of each level: one for each vertex if that fits 2**log2_hashmap_size (dense), else that many."""
        hashmap_size = 2**self.log2_hashmap_size
        return tuple(min(math.prod(cells + 1 for cells in level), hashmap_size) for level in self.resolutions)

    @cached_property
    def level_is_dense(self) -> tuple[bool, ...]:
        """Whether each vertex of a level has a row of its own."""
        return tuple(
            math.prod(cells + 1 for cells in level) == entries
            for level, entries in zip(self.resolutions, self.level_entries, strict=True)
        )

    @cached_property
    def level_offsets(self) -> tuple[int, ...]:
        """First table row of each level."""
        return tuple(itertools.accumulate(self.level_entries, initial=0))[:-1]

    @cached_property
    def n_entries(self) -> int:
        """Number of rows of the whole table."""
        return sum(self.level_entries)
