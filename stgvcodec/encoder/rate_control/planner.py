"""The planner turns what the user asked and what the video holds into GoPs, their rate control, and a plan to show."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from stgvcodec.bitstream.container.file_header import StreamHeader
from stgvcodec.encoder.config import EncodeConfig
from stgvcodec.encoder.lookahead.content import Content
from stgvcodec.encoder.lookahead.gop_length import adaptive_lengths, fixed_lengths, frames_in_memory
from stgvcodec.encoder.presets import PRESETS
from stgvcodec.encoder.profiles import PROFILES
from stgvcodec.encoder.rate_control.controllers import QualityControl, RateControl, SizeControl
from stgvcodec.encoder.rate_control.cost_model import COST_MODELS, GopCosts
from stgvcodec.encoder.rate_control.gop_table import GopTable
from stgvcodec.encoder.reports import EncodePlan
from stgvcodec.errors import ConfigError

# Content decides where GoPs end as long as each can pay for this many times the smallest model.
_HEADROOM = 3.0
# GoPs that end at scene cuts need less: one that runs across a cut is worse than two small ones.
_HEADROOM_AT_CUTS = 1.5
_STRETCH = 1.4
# A GoP with this many Gaussians for each pixel gains nothing from more frames that share them.
_DENSEST = 1.0 / 3.0
# Least and most that a quality may cost, bits a pixel and frame, when GoP lengths are chosen for it, and the number of
# steps of the bisection between them.
_BPP_LIMITS = (0.005, 8.0)
_BPP_STEPS = 12


def rate_control(config: EncodeConfig, content: Content, header: StreamHeader, carried_bytes: int = 0) -> RateControl:
    """Return the rate control for the target of a configuration.

    Args:
        config: Configuration with a target.
        content: Measures of the video's frames.
        header: The file's header.
        carried_bytes: Bytes of the file that its sound, subtitles and metadata take; a target size includes them.

    Raises:
        ConfigError: the target is below what the smallest models of the fewest GoPs cost.
    """
    preset, model = PRESETS[config.preset], COST_MODELS[config.profile]
    quality = replace(model.quality, base=model.quality.base + preset.quality_db)
    costs = GopCosts(
        replace(model, quality=quality),
        n_pixels=header.width * header.height,
        color_stages=config.color_stages or preset.color_stages,
        color_codebook_size=config.color_codebook_size or preset.color_codebook_size,
        has_shape_head=PROFILES[config.profile].has_shape_head,
    )
    if config.psnr_target is not None:
        bpp = _expected_bpp(config.psnr_target, content, costs)
        lengths = next(_cuttings(config, content, costs, bpp, scene_cut=config.scene_cut))
        gops = GopTable(content, lengths, header, costs)
        return QualityControl(gops, config.psnr_target)
    n_samples = costs.n_pixels * content.n_frames
    if config.size_target is None:
        carried_bytes = 0
        target_bytes = max(math.floor((config.bpp_target or 0.0) * n_samples / 8.0), 1)
    else:
        target_bytes = max(config.size_target - carried_bytes, 1)
    smallest: GopTable | None = None
    for headroom, lengths in _with_headroom(config, content, costs, 8.0 * target_bytes / n_samples):
        gops = GopTable(content, lengths, header, costs)
        if gops.smallest_file_bytes + (headroom - 1.0) * sum(gops.minimum_bytes) <= target_bytes:
            return SizeControl(gops, target_bytes, carried_bytes)
        if smallest is None or gops.smallest_file_bytes < smallest.smallest_file_bytes:
            smallest = gops
    assert smallest is not None
    raise _below_minimum(config, smallest, carried_bytes)


def encode_plan(config: EncodeConfig, control: RateControl) -> EncodePlan:
    """Return what a rate control is about to do, before the first GoP."""
    gops = control.gops
    expected_bytes = control.expected_bytes()
    n = len(gops)
    payload_bytes = max((expected_bytes - gops.file_bytes) / n, 1.0)
    length = round(gops.n_frames / n)
    field, n_gaussians = gops.costs.dimensions(payload_bytes, length)
    return EncodePlan(
        bpp_target=config.bpp_target,
        size_target=config.size_target,
        psnr_target=config.psnr_target,
        n_frames=gops.n_frames,
        gop_lengths=gops.lengths,
        longest_gop=max(gops.lengths),
        n_gaussians=n_gaussians,
        n_field_parameters=gops.costs.n_field_parameters(field, length),
        expected_bytes=expected_bytes,
        expected_bpp=8.0 * expected_bytes / (gops.n_pixels * gops.n_frames),
    )


def _with_headroom(
    config: EncodeConfig, content: Content, costs: GopCosts, bpp: float
) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Yield GoP lengths to try in turn, each after the multiple of the smallest models that the target must pay for."""
    with_cuts: list[tuple[int, ...]] = []
    if config.scene_cut:
        for lengths in _cuttings(config, content, costs, bpp, scene_cut=True):
            with_cuts.append(lengths)
            yield _HEADROOM, lengths
        for lengths in with_cuts:
            yield _HEADROOM_AT_CUTS, lengths
    across = []
    for lengths in _cuttings(config, content, costs, bpp, scene_cut=False):
        across.append(lengths)
        yield _HEADROOM, lengths
    for lengths in (*with_cuts, *across):
        yield 1.0, lengths


def _cuttings(
    config: EncodeConfig, content: Content, costs: GopCosts, bpp: float, *, scene_cut: bool
) -> Iterator[tuple[int, ...]]:
    """Yield the lengths of GoPs, from those that the content asks for to those of the fewest GoPs possible."""
    if config.gop is not None:
        yield fixed_lengths(content, config.gop, scene_cut=scene_cut)
        return
    model = costs.model.gop_length
    possible = max(1, min(model.longest, frames_in_memory(costs.n_pixels)))
    densest = math.floor(8.0 * costs.bytes_at_density(_DENSEST, 1) / (bpp * costs.n_pixels))
    shortest = math.ceil(8.0 * _HEADROOM * costs.minimum_bytes(possible) / (bpp * costs.n_pixels))
    # Gaussians that are denser than is worth their bits still beat a file that is refused.
    longest = min(max(densest, model.shortest, shortest), possible)
    wanted = [
        model.wanted(bpp, change, texture) for change, texture in zip(content.change, content.texture, strict=True)
    ]
    n_gops = content.n_frames + 1
    stretch = 1.0
    while True:
        stretched = [stretch * length for length in wanted]
        lengths = adaptive_lengths(content, stretched, longest, scene_cut=scene_cut, shortest=shortest)
        if len(lengths) < n_gops:
            yield lengths
        n_gops = len(lengths)
        if stretch > longest:
            break
        stretch *= _STRETCH


def _expected_bpp(psnr_db: float, content: Content, costs: GopCosts) -> float:
    """Return the bits a pixel and frame at which the table expects a PSNR, with the GoP length that they lead to."""
    model = costs.model.gop_length
    change = sum(content.change) / max(content.n_frames - 1, 1)
    texture = sum(content.texture) / content.n_frames
    low, high = map(math.log2, _BPP_LIMITS)
    for _ in range(_BPP_STEPS):
        middle = (low + high) / 2.0
        length = min(model.wanted(2.0**middle, change, texture), float(content.n_frames))
        expected = costs.model.quality.psnr_db(2.0**middle * length, change * length, texture)
        low, high = (middle, high) if expected < psnr_db else (low, middle)
    return float(2.0**high)


def _below_minimum(config: EncodeConfig, gops: GopTable, carried_bytes: int) -> ConfigError:
    minimum = gops.smallest_file_bytes
    bpp = 8.0 * minimum / (gops.n_pixels * gops.n_frames)
    # The minimum is named with at least four digits, rounded up, so that a target of that value works.
    n_decimals = max(4, 3 - math.floor(math.log10(bpp)))
    bpp = math.ceil(bpp * 10**n_decimals) / 10**n_decimals
    extent = f"in {len(gops)} GoP{'s' if len(gops) > 1 else ''} of up to {max(gops.lengths)} frames"
    if config.size_target is not None:
        carried = (
            f"; {carried_bytes} of them are sound, subtitles and metadata: leave these out with --no-audio, "
            "--no-subtitles or --no-metadata"
            if carried_bytes
            else ""
        )
        return ConfigError(
            f"a size target of {config.size_target} bytes is below the smallest possible file for this video; "
            f"the minimum is {minimum + carried_bytes} bytes, {extent}{carried}"
        )
    return ConfigError(
        f"a bpp target of {config.bpp_target:g} is below the smallest possible file for this video; the minimum is "
        f"{bpp:.{n_decimals}f} bpp, {extent}"
    )
