"""Run the paper's tables anew, write `paper.md` with the paper's figures beside, and `paper.png`, a contact sheet.

    python -m benchmarks.paper --device cuda                                what the package's own clip is enough for
    python -m benchmarks.paper --device cuda --data DATA                    and DAVIS and UVG, as far as they are there
    python -m benchmarks.paper --device cuda --only IV V --gops 2           a part: the first two GoPs of each clip
    python -m benchmarks.paper --only VI --recipes median uniform           a part that needs no GPU
    python -m benchmarks.paper --report                                     only write, from the rows there are
    python -m benchmarks.paper --tiny                                       to try it out, into a temporary folder

DATA has `davis/<sequence>/` (or `davis480/`) with frames as images, and `uvg/<Name>` as images, .y4m, .mp4 or .mkv. A
row of `paper.csv` is a GoP of a clip, fitted by a recipe; tables share recipes, and rows that are there are not run
again. Run it from the root of the repository. A whole table at the paper's steps takes hours on a GPU: `--seconds`
begins nothing that is not likely to be done in that time, and the next call goes on.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.harness import commit, device_name
from benchmarks.paper import pictures, rate_distortion
from benchmarks.paper.clips import CLIPS, GOP, Clip, gops, read_frames
from benchmarks.paper.corruption import Source, corrupted
from benchmarks.paper.measure import measure
from benchmarks.paper.recipes import RECIPES, Recipe
from benchmarks.paper.report import write_report
from benchmarks.paper.results import Key, Results
from benchmarks.paper.tables import TABLES
from stgvcodec.ops.backends import resolve_backend
from stgvcodec.ops.threads import one_torch_thread

TINY_GOP = 2
NAMES = (*TABLES, rate_distortion.NAME)


class Job(NamedTuple):
    recipe: Recipe
    clip: Clip
    path: Path
    gop: range
    n_gops: int
    seed: int

    @property
    def key(self) -> Key:
        return self.recipe.name, self.clip.name, f"{self.gop.start}:{self.gop.stop}", str(self.seed)


def all_jobs(options: argparse.Namespace) -> list[Job]:
    """What the tables need, clip by clip, each once; clips that are not at hand are named."""
    cells = {cell: None for name in options.only if name in TABLES for cell in TABLES[name].cells()}
    wanted = {clip for _, clip in cells if options.clips is None or clip in options.clips}
    jobs = []
    for name in [name for name in CLIPS if name in wanted]:
        clip = CLIPS[name].tiny() if options.tiny else CLIPS[name]
        path = clip.path(options.data)
        if path is None:
            print(f"{name}: not at hand, looked for {' or '.join(clip.places)} under --data")
            continue
        n_frames = len(read_frames(clip, path))
        recipes = sorted((recipe for recipe, of in cells if of == name), key=lambda recipe: recipe.corruption)
        if options.recipes is not None:
            recipes = [recipe for recipe in recipes if recipe.base in options.recipes]
        for seed, recipe in product(options.seeds, recipes):
            ranges = gops(n_frames, recipe.n_frames * TINY_GOP // GOP if options.tiny else recipe.n_frames)
            jobs += [Job(recipe, clip, path, gop, len(ranges), seed) for gop in ranges[: options.gops]]
    return jobs


@lru_cache(maxsize=2)
def source_of(clip: Clip, path: Path, corruption: str) -> Source:
    return corrupted(read_frames(clip, path), corruption)


_READING = threading.Lock()


def run_job(job: Job, results: Results, options: argparse.Namespace, device: torch.device, backend: str) -> None:
    with _READING:
        source = source_of(job.clip, job.path, job.recipe.corruption)
    _, height, width, _ = source.clean.shape
    n_gaussians, tiny = job.clip.n_gaussians, options.tiny
    figures, drawn = measure(job.recipe, source, job.gop, n_gaussians, device, backend, job.seed, tiny=tiny)
    preset = "" if job.recipe.filter else job.recipe.preset
    fitted = (backend, device_name(device)) if preset else ("scipy", device_name(torch.device("cpu")))
    conditions = (job.n_gops, f"{width}x{height}", preset, *fitted, options.at_once, commit())
    # Times that others had a share in say nothing.
    shared = {"seconds": None, "decode_fps": None} if options.at_once > 1 else {}
    results.add(job.key, figures._replace(**shared), conditions)
    if job.gop.start == 0 and job.seed == options.seeds[0] and not source.is_halved:
        pictures.keep(results.path.parent, job.clip.name, job.recipe.name, source.part(job.gop).clean, drawn)
    figure = f"{figures.psnr_db:.2f} dB, {figures.steps} steps, {figures.seconds:.1f} s"
    print(f"{', '.join(job.key)}: {figure}", flush=True)


def in_time(seconds: float | None) -> Callable[[Callable[[], None]], bool]:
    """Return what runs a piece of work if it is likely to be done in time, as far as the longest before it tells."""
    started, longest = time.perf_counter(), [0.0]

    def run(work: Callable[[], None]) -> bool:
        begun = time.perf_counter()
        if seconds is not None and begun - started + 1.5 * longest[0] > seconds:
            return False
        work()
        longest[0] = max(longest[0], time.perf_counter() - begun)
        return True

    return run


def run_all(options: argparse.Namespace, folder: Path) -> None:
    device = torch.device(options.device)
    backend = resolve_backend(options.backend, device)
    results = Results(folder / "paper.csv")
    if not options.report:
        left = [job for job in all_jobs(options) if not results.has(job.key)]
        attempt = in_time(options.seconds)
        if device.type == "cuda":
            warm_up(left, device, backend)
        with one_torch_thread(), ThreadPoolExecutor(options.at_once) as pool:
            done = list(pool.map(lambda job: attempt(lambda: run_job(job, results, options, device, backend)), left))
        if not all(done):
            print(f"{done.count(False)} of {len(left)} rows are left for another call")
        is_whole = options.recipes is None and (options.clips is None or "bunny" in options.clips)
        if rate_distortion.NAME in options.only and is_whole:
            attempt(lambda: rate_distortion.run(folder, options.device, tiny=options.tiny))
    print(write_report(results, folder))
    pictures.write_sheet(folder)


def warm_up(jobs: list[Job], device: torch.device, backend: str) -> None:
    """Fit a GoP by each recipe for a few steps, so that kernels are compiled before anything is timed."""
    for job in {job.recipe: job for job in jobs if not job.recipe.corruption}.values():
        source = source_of(job.clip, job.path, "")
        measure(job.recipe, source, job.gop, job.clip.n_gaussians, device, backend, job.seed, tiny=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.paper", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="TABLE", help=", ".join(NAMES))
    parser.add_argument("--clips", nargs="+", choices=tuple(CLIPS), metavar="CLIP", help=", ".join(CLIPS))
    parser.add_argument("--recipes", nargs="+", choices=tuple(RECIPES), metavar="RECIPE", help=", ".join(RECIPES))
    parser.add_argument("--data", type=Path, help="folder with DAVIS and UVG")
    parser.add_argument("--gops", type=int, help="only the first GoPs of each clip")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--at-once", type=int, default=1, help="GoPs fitted at the same time, for no good timings")
    parser.add_argument("--seconds", type=float, help="time to be done in")
    parser.add_argument("--out", type=Path, help="folder of paper.csv and paper.md (default: results)")
    parser.add_argument("--report", action="store_true", help="only write paper.md and paper.png")
    parser.add_argument("--tiny", action="store_true", help="few frames, tiny and hardly trained; never into results")
    options = parser.parse_args()
    results = Path(__file__).parents[2] / "results"
    if options.tiny and options.out is not None and options.out.resolve() == results:
        parser.error("--tiny writes nothing into results")
    if options.out is not None or not options.tiny:
        folder = options.out or results
        folder.mkdir(parents=True, exist_ok=True)
        run_all(options, folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        run_all(options, Path(temporary))


if __name__ == "__main__":
    main()
