"""Fits with other encodings of the field, which are for comparison in float: they train, and they cannot be packed."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from clips import moving_clip
from fits import TINY, gop_config
from tolerances import approx

from stgvcodec.encoder.encode_gop import encode_gop, make_trainer
from stgvcodec.encoder.gop_symbols import gop_symbols, header_of
from stgvcodec.encoder.model_size import N_POSITION_FREQUENCIES, STILL_FIELD, field_spec
from stgvcodec.encoder.presets import FIELD_SIZES, PAPER_FIELD
from stgvcodec.encoder.profiles import PROFILES
from stgvcodec.errors import ConfigError
from stgvcodec.fit.paths import follow_paths
from stgvcodec.fit.phases import Phase
from stgvcodec.model.deformation import Encoding

ENCODINGS = get_args(Encoding)
OTHERS = [encoding for encoding in ENCODINGS if encoding != "spatio-temporal"]
JOINT = Phase("joint", frames="all", n_steps=60)


@pytest.mark.parametrize("backend", ["numba", "reference"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_fit_lowers_the_loss_below_what_gaussians_alone_reach(encoding, backend):
    """The same steps without a field leave what moves."""
    config = gop_config("paper", encoding=encoding, backend=backend, field=FIELD_SIZES[-3])
    trainer = make_trainer(moving_clip(4), config, 0)
    before = trainer.psnr_db()
    tables = [table.detach().clone() for table in (trainer.model.field.static_table, trainer.model.field.dynamic_table)]

    trainer.run(JOINT)

    assert trainer.psnr_db() > before + 1.0
    assert trainer.n_rollbacks == 0
    spec, field = trainer.spec.field, trainer.model.field
    assert spec.encoding == encoding
    trains = (spec.trains_static_table, spec.trains_dynamic_table)
    for table, old, is_trained in zip((field.static_table, field.dynamic_table), tables, trains, strict=True):
        assert torch.equal(table, old) != is_trained
    assert all(tensor.any() for tensor in field.weights[4:8])


@pytest.mark.parametrize("encoding", OTHERS)
def test_a_fit_repeats(encoding):
    config = gop_config("paper", encoding=encoding)
    fits = [make_trainer(moving_clip(3), config, 4) for _ in range(2)]
    for trainer in fits:
        trainer.run(Phase("joint", frames="all", n_steps=5))

    first, second = (trainer.model.state_dict() for trainer in fits)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("encoding", OTHERS)
def test_paths_teach_a_field_of_any_encoding(encoding):
    config = gop_config("compact", encoding=encoding)
    frames = np.stack([np.roll(moving_clip(1)[0], 3 * k, axis=1) for k in range(4)])
    trainer = make_trainer(frames, config, 0)
    trainer.paths = follow_paths(torch.from_numpy(frames), 2)
    steps: list[float] = []
    phase = Phase("motion", frames="all", n_steps=30, target="paths")
    trainer.run(phase, lambda _, __, loss: steps.append(float(loss)))

    assert np.mean(steps[-4:]) < np.mean(steps[:4])


@pytest.mark.parametrize("encoding", OTHERS)
def test_encode_gop_refuses_before_it_fits(encoding):
    def never(*_: object) -> None:
        pytest.fail("a step was made")

    with pytest.raises(ConfigError, match=f"'{encoding}' cannot be quantised or packed.*fit it in float"):
        encode_gop(moving_clip(2), gop_config("compact", encoding=encoding), 0, never)


@pytest.mark.parametrize("encoding", OTHERS)
def test_neither_symbols_nor_a_header_come_of_it(encoding):
    trainer = make_trainer(moving_clip(2), gop_config("paper", encoding=encoding), 0)

    with pytest.raises(ConfigError, match="the bitstream has 'spatio-temporal' only"):
        gop_symbols(trainer)
    with pytest.raises(ConfigError, match="the bitstream has 'spatio-temporal' only"):
        header_of(trainer.spec, trainer.quantizers.config)
    with pytest.raises(ConfigError, match="the bitstream has 'spatio-temporal' only"):
        trainer.run(TINY.finetuning[-1])


@pytest.mark.parametrize("profile", list(PROFILES))
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_gop_of_one_frame_has_no_field(encoding, profile):
    head = PROFILES[profile].has_shape_head

    assert field_spec(PAPER_FIELD, 1, has_shape_head=head, encoding=encoding) == STILL_FIELD


def test_the_paper_s_sizes():
    """Planes have about as many parameters as both hash tables; the others are parts of these, or have no table."""
    specs = {encoding: field_spec(PAPER_FIELD, 10, encoding=encoding) for encoding in ENCODINGS}
    n_tables = {
        encoding: sum(
            rows * columns
            for (rows, columns), is_trained in zip(
                spec.table_shapes, (spec.trains_static_table, spec.trains_dynamic_table), strict=True
            )
            if is_trained
        )
        for encoding, spec in specs.items()
    }

    assert n_tables["static"] + n_tables["dynamic"] == n_tables["spatio-temporal"]
    assert n_tables["positional"] == 0
    assert 0.9 * n_tables["spatio-temporal"] < n_tables["planes"] <= n_tables["spatio-temporal"]
    assert specs["positional"].static_grid.n_features == 4 * N_POSITION_FREQUENCIES
    for grid in (specs["planes"].static_grid, specs["planes"].dynamic_grid):
        assert all(grid.level_is_dense)
    assert specs["planes"].dynamic_grid.resolutions[0][1] == 9


@pytest.mark.parametrize("size", FIELD_SIZES, ids=lambda size: f"{size.n_levels} levels")
@pytest.mark.parametrize("n_frames", [2, 10, 64])
def test_planes_exist_at_every_size(size, n_frames):
    spec = field_spec(size, n_frames, encoding="planes")

    assert spec.n_parameters > 0
    assert spec.static_grid.n_features == spec.dynamic_grid.n_features


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["positional", "planes"])
def test_a_fit_by_triton_has_the_losses_of_the_reference(encoding, triton_device):
    """On a GPU the later steps are a CUDA graph."""
    frames = moving_clip(2)[:, :18, :20].copy()
    losses: dict[str, list[torch.Tensor]] = {}
    for backend, device in (("triton", triton_device), ("reference", torch.device("cpu"))):
        config = gop_config("paper", encoding=encoding, n_gaussians=10, backend=backend, device=device)
        trainer, found = make_trainer(frames, config, 0), losses.setdefault(backend, [])
        trainer.run(Phase("joint", frames="all", n_steps=3), lambda _, __, loss, found=found: found.append(loss))

    found, expected = (torch.stack(losses[backend]).tolist() for backend in ("triton", "reference"))
    assert found == approx(expected, "fit, losses")
