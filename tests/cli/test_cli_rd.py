from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from stgvcodec import EncodeConfig
from stgvcodec.cli import rd
from stgvcodec.media.anchors import ANCHORS
from stgvcodec.report.rd_table import AGAINST


@pytest.fixture(scope="module")
def results(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two anchors, and made-up ones of this codec, which would take longer to make and look alike."""
    from stgvcodec.evaluation.rd_plan import RdPlan
    from stgvcodec.evaluation.rd_run import rate_distortion
    from stgvcodec.evaluation.results import write_results
    from stgvcodec.report.rd_points import RdSeries

    path = tmp_path_factory.mktemp("rd") / "rd.json"
    result = rate_distortion(clip, path, plan=RdPlan((0.5, 1.0), (), ("x264", "svtav1")), note="made of waves")
    (x264,) = (series for series in result.series if series.codec == "x264")
    points = tuple(dataclasses.replace(point, bpp=2 * point.bpp, file=None) for point in x264.points)
    ours = RdSeries("stgv", "stgv paper", {"profile": "paper"}, points)
    write_results(path, dataclasses.replace(result, series=(ours, *result.series)))
    return path


def test_the_anchors_are_those_of_the_codec() -> None:
    assert tuple(ANCHORS) == rd.ANCHORS
    assert set(AGAINST) <= set(ANCHORS)


def test_plot_only_reads_no_video_and_prints_every_point(cli, results: Path, tmp_path: Path) -> None:
    table = tmp_path / "rd.md"
    outcome = cli("rd", "--plot-only", results, "-o", tmp_path / "rd.png", "--table", table)

    assert (outcome.code, outcome.err) == (0, "")
    assert (tmp_path / "rd.png").read_bytes().startswith(b"\x89PNG")
    lines = outcome.out.splitlines()
    n_points = sum(len(series["points"]) for series in json.loads(results.read_text())["series"])
    assert sum(" cpu" in line for line in lines) == n_points
    assert "clip, 48x32, 6 frames" in lines[0]
    assert "made of waves." in lines
    assert table.read_text().startswith("BD-rate against x264 medium")


def test_losses_are_printed_as_plainly_as_gains(cli, results: Path, tmp_path: Path) -> None:
    table = tmp_path / "rd.md"
    outcome = cli("rd", "--plot-only", "--json", results, "--table", table, "--against", "stgv")

    (line,) = [
        line for line in outcome.out.splitlines() if "stgv paper  " in line and "x264" in line and " cpu" not in line
    ]
    assert "+100.0 %" in line
    (back,) = [line for line in table.read_text().splitlines() if line.startswith("| x264 medium") and "%" in line]
    assert "| -50.0 %" in back


def test_the_table_is_against_several(cli, results: Path, tmp_path: Path) -> None:
    table = tmp_path / "rd.md"
    outcome = cli("rd", "--plot-only", results, "--table", table, "--against", "x264, svtav1")

    assert outcome.code == 0
    heads = [line.split(":")[0] for line in table.read_text().splitlines() if line.startswith("BD-rate")]
    assert heads == ["BD-rate against x264 medium", "BD-rate against SVT-AV1 preset 8"]


def test_several_results_are_drawn_together(cli, results: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(results.read_text().replace('"name": "clip"', '"name": "other.mp4"'))
    outcome = cli("rd", "--plot-only", results, other, "-o", tmp_path / "all.svg")

    svg = (tmp_path / "all.svg").read_text()
    assert outcome.code == 0
    assert "clip, 48x32" in svg
    assert "other, 48x32" in svg


def test_encode_only_makes_files_and_says_nothing(
    cli, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stgvcodec.evaluation import rd_run as codec_rd

    asked = []

    def encode(_: Path, destination: Path, *, config: EncodeConfig, **__: object) -> SimpleNamespace:
        asked.append((config.profile, config.preset, config.bpp_target))
        destination.write_bytes(b"made")
        return SimpleNamespace(seconds=1.5, device="cpu", backend="numba", gops=())

    monkeypatch.setattr(codec_rd, "encode", encode)
    arguments = ("rd", clip, "--bpp", "0.5,1", "--preset", "paper", "-o", tmp_path / "rd.png", "--encode-only", "-q")
    for _ in range(2):
        outcome = cli(*arguments)
        assert (outcome.code, outcome.out, outcome.err) == (0, "", "")

    assert asked == [("paper", "paper", 0.5), ("paper", "paper", 1.0)]
    assert [path.name for path in tmp_path.iterdir()] == ["rd.json.d"]
    assert sorted(path.suffix for path in (tmp_path / "rd.json.d").iterdir()) == [".json", ".json", ".stgv", ".stgv"]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({}, ["compact"]),
        ({"preset": "slow"}, ["compact"]),
        ({"preset": "paper"}, ["paper"]),
        ({"preset": "paper", "profiles": "compact, paper"}, ["compact", "paper"]),
    ],
    ids=str,
)
def test_profiles_are_those_of_encode(arguments: dict[str, str], wanted: list[str]) -> None:
    given = {"profiles": None, "preset": None, "gop": None, "seed": None, **arguments}
    configs = rd._configs(**given)

    assert [config.profile for config in configs] == wanted
    assert {config.preset for config in configs} == {arguments.get("preset", "medium")}


def test_where_nothing_overlaps_the_reason_is_printed(cli, results: Path, tmp_path: Path) -> None:
    values = json.loads(results.read_text())
    for point in next(series for series in values["series"] if series["codec"] == "stgv")["points"]:
        point["psnr_db"] -= 60
    (tmp_path / "rd.json").write_text(json.dumps(values))
    outcome = cli("rd", "--plot-only", tmp_path / "rd.json")

    assert outcome.code == 0
    assert "stgv paper against x264 medium, PSNR: no overlap in quality: " in outcome.out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["in", "--bpp", "0.1,a", "-o", "a.png"], 2, "--bpp 0.1,a: expected numbers with commas between"),
        (["in", "--bpp", "0.1,-2", "-o", "a.png"], 2, "expected bits a pixel above 0"),
        (["in", "--bpp", "0.1,0.1", "-o", "a.png"], 2, "rate 0.1 was given twice"),
        (
            ["in", "--anchors", "x264,vp9", "-o", "a.png"],
            2,
            "anchor 'vp9' does not exist; choose of x264, x264-psnr, x265",
        ),
        (["in", "--profile", "paper,paper", "-o", "a.png"], 2, "names a profile twice"),
        (["in", "--profile", "zip", "-o", "a.png"], 2, "profile is 'zip', expected one of compact, paper"),
        (["in", "-o", "a.jpg"], 2, "got the suffix '.jpg', expected .png, .pdf, .svg"),
        (["in"], 2, "give -o FIGURE, --json FILE or both"),
        (["in", "more", "-o", "a.png"], 2, "got 2 inputs, expected one video"),
        (["-o", "a.png"], 2, "got 0 inputs"),
        (["in", "-o", "a.png", "--json", "a.png"], 2, "would overwrite"),
        (["in", "--json", "in"], 2, "is the input or output of the same run"),
        (["--plot-only", "-o", "a.png"], 2, "has nothing to draw"),
        (["--plot-only", "no.json", "--encode-only", "-o", "a.png"], 2, "leave nothing to do; drop one of them"),
        (["--plot-only", "no.json", "-o", "a.png"], 3, "no.json: cannot be read"),
        (["--plot-only", "no.json", "--note", "so"], 2, "--plot-only leaves as it is"),
        (["missing.mp4", "-o", "a.png"], 3, "missing.mp4: does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use_is_one_line(
    cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    cli("rd", *arguments).assert_refused(code, re.escape(said))
    assert not list(tmp_path.iterdir())


def test_another_schema_is_one_line(cli, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"schema": "compressai/1"}')
    outcome = cli("rd", "--plot-only", tmp_path / "a.json", "-o", tmp_path / "a.png")

    outcome.assert_refused(2, "got the schema 'compressai/1', expected 'stgvcodec-rd/1'")
    assert not (tmp_path / "a.png").exists()


def test_what_the_table_is_against_has_to_be_there(cli, results: Path, tmp_path: Path) -> None:
    outcome = cli("rd", "--plot-only", results, "--table", tmp_path / "a.md", "--against", "x265")

    assert outcome.code == 2
    assert "no series 'x265' to measure against, expected one of: stgv paper, x264 medium" in outcome.err


@pytest.mark.parametrize("package", ["matplotlib", "scipy"])
def test_without_the_extra_its_name_is_said(fresh_cli, clip: Path, tmp_path: Path, package: str) -> None:
    (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{package}'\")")
    outcome = fresh_cli("rd", clip, "-o", tmp_path / "a.png", environment={"PYTHONPATH": str(tmp_path)})

    outcome.assert_refused(1, re.escape("pip install 'stgvcodec[rd]'"))
