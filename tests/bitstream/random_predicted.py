"""Predicted payloads for the tests of this folder."""

from __future__ import annotations

import dataclasses

import numpy as np
from random_sets import SET_HEADER, random_set

from stgvcodec.bitstream import PredictedGopSymbols

PREDICTED_HEADER = dataclasses.replace(SET_HEADER, format_version=(1, 2))


def random_predicted(seed=0, residual_spread=1.5, **changes):
    """A GoP whose residuals depend on one another, with the field of `random_set` of the same arguments."""
    rng = np.random.default_rng(seed)
    of_set = random_set(seed, **changes)
    n = of_set.header.n_gaussians
    change = residual_spread * rng.gamma(1, 1, (n, 1))  # what changes at all changes in all of its numbers
    residuals = np.clip(np.rint(rng.laplace(0, 1, (n, 8)) * change), -128, 127).astype(np.int8)
    names = {field.name for field in dataclasses.fields(PredictedGopSymbols)} - {"residuals"}
    return PredictedGopSymbols(residuals=residuals, **{name: getattr(of_set, name) for name in names})
