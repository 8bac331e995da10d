"""What is run: recipes, each a change of a preset's configuration, and nothing that is not in the package."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from benchmarks.paper.clips import GOP
from benchmarks.paper.interpolation import BETWEEN, HALVED, RESAMPLED, Interpolation
from stgvcodec.encoder.encode_gop import GopConfig
from stgvcodec.encoder.model_size import default_field_size, field_spec
from stgvcodec.encoder.presets import PAPER_FIELD, PRESETS, Preset
from stgvcodec.encoder.profiles import PROFILES
from stgvcodec.model.deformation import Encoding

# Filters of Table VI; what they do is in `corruption.filtered`.
FILTERS = ("gaussian", "uniform", "median", "minimum", "maximum")
TINY_STEPS = 4
# Mean, Cholesky factor and colour.
PARAMETERS_OF_A_GAUSSIAN = 2 + 3 + 3


@dataclass(frozen=True)
class Recipe:
    """How a GoP is fitted in float.

    Attributes:
        name: Name in the results.
        preset: Preset that the steps and rates come from, without its fine-tuning.
        profile: Profile that says whether the field changes shapes; nothing is quantised.
        encoding: Encoding of the field.
        has_key_phase: Whether the key frame is fitted first, as preset `paper` does; its steps go to joint training
            otherwise, which then starts from random Gaussians.
        key_frame: Rule for the key frame in place of the preset's.
        gaussians: Gaussians of a GoP, as a share of the clip's.
        has_as_many_parameters: Whether Gaussians are added until the parameters are as many as preset `paper`'s.
        is_per_frame: Whether every frame has Gaussians of its own, without a field; they share the GoP's number, and
            its steps.
        corruption: What is done to the frames before: "" (nothing), "squares" (five masks of 50x50 pixels), a kind of
            noise of examples/denoise.py, a factor of `ENLARGEMENTS` by which they are smaller, or `HALVED`.
        interpolation: How the pictures are made that the fit was not given.
        filter: Classical filter in place of a fit, out of `FILTERS`, or "none", which leaves the frames as they are.
    """

    name: str
    preset: str = "paper"
    profile: str = "paper"
    encoding: Encoding = "spatio-temporal"
    has_key_phase: bool = True
    key_frame: str | None = None
    gaussians: float = 1.0
    has_as_many_parameters: bool = False
    is_per_frame: bool = False
    corruption: str = ""
    interpolation: Interpolation = "render"
    filter: str = ""

    @property
    def base(self) -> str:
        """Name of the recipe for frames without corruption."""
        return self.name.removeprefix(f"{self.corruption}: ")

    @property
    def n_frames(self) -> int:
        """Frames of the clip that a GoP spans."""
        return 2 * GOP if self.corruption == HALVED else GOP

    def on(self, corruption: str) -> Recipe:
        """The recipe for frames with this corruption."""
        return replace(self, name=f"{corruption}: {self.name}", corruption=corruption) if corruption else self


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("paper"),
        Recipe("positional, no key frame", encoding="positional", has_key_phase=False),
        Recipe("spatio-temporal, no key frame", has_key_phase=False),
        Recipe("positional", encoding="positional"),
        Recipe("static", encoding="static"),
        Recipe("dynamic", encoding="dynamic"),
        Recipe("planes", encoding="planes"),
        Recipe("middle", key_frame="middle"),
        Recipe("auto", key_frame="auto"),
        Recipe("shapes", profile="compact"),
        Recipe("slow", preset="slow", profile="compact"),
        Recipe("slow, as many parameters", "slow", "compact", has_as_many_parameters=True),
        *(Recipe(f"slow, {how}", "slow", "compact", interpolation=how) for how in (*RESAMPLED, *BETWEEN)),
        *(Recipe(f"slow, {rule}", "slow", "compact", key_frame=rule) for rule in ("first", "auto")),
        Recipe("2dgs", is_per_frame=True),
        *(Recipe(f"{share:g} of the Gaussians", gaussians=share) for share in (0.25, 0.5, 2.0)),
        Recipe("none", filter="none"),
        *(Recipe(name, filter=name) for name in FILTERS),
    )
}
"""Recipes by name."""


def preset_of(recipe: Recipe, n_frames: int, *, tiny: bool) -> Preset:
    """The preset of a recipe for a GoP of this length, in float; a longer GoP has no more steps."""
    preset = PRESETS[recipe.preset]
    phases = preset.phases
    if not recipe.has_key_phase:
        first, *others = phases
        assert first.frames == "key"
        phases = (replace(others[0], n_steps=first.n_steps + others[0].n_steps), *others[1:])
    if recipe.is_per_frame:
        phases = tuple(replace(phase, n_steps=max(1, phase.n_steps // GOP)) for phase in phases)
    if tiny:
        phases = tuple(replace(phase, n_steps=TINY_STEPS) for phase in phases)
    return replace(preset, phases=phases, finetuning=(), gop=n_frames)


def config_of(
    recipe: Recipe,
    size: tuple[int, int],
    n_frames: int,
    n_gaussians: int,
    device: torch.device,
    backend: str,
    *,
    tiny: bool,
) -> GopConfig:
    """Configuration of a GoP's fit; `size` is (width, height) and `n_gaussians` the clip's."""
    preset = preset_of(recipe, n_frames, tiny=tiny)
    profile = PROFILES[recipe.profile].with_codebooks(preset.color_stages, preset.color_codebook_size)
    field = default_field_size(preset, *size, n_frames)
    share = recipe.gaussians / GOP if recipe.is_per_frame else recipe.gaussians
    if recipe.has_as_many_parameters:
        own = field_spec(field, n_frames, has_shape_head=profile.has_shape_head).n_parameters
        n_gaussians += (field_spec(PAPER_FIELD, n_frames).n_parameters - own) // PARAMETERS_OF_A_GAUSSIAN
    return GopConfig(
        preset=preset,
        n_gaussians=max(1, round(n_gaussians * share)),
        field=field,
        key_frame=recipe.key_frame or preset.key_frame,
        initialization=preset.initialization,
        profile=profile,
        target_bytes=None,
        device=device,
        backend=backend,
        encoding=recipe.encoding,
    )
