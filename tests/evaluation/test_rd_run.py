from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from clips import noisy_clip, write_folder
from fits import TINY

from stgvcodec import EncodeConfig, Selection, compare
from stgvcodec.encoder.engines import gop_job
from stgvcodec.encoder.presets import PRESETS
from stgvcodec.errors import BackendUnavailableError, ConfigError, InputVideoError, StgvError
from stgvcodec.evaluation import classical_codecs as rd_anchors
from stgvcodec.evaluation import rd_run as rd
from stgvcodec.evaluation.flat_bits import file_flat_bits
from stgvcodec.evaluation.measuring import Clip, Meter
from stgvcodec.evaluation.rd_plan import RdPlan
from stgvcodec.evaluation.rd_run import rate_distortion
from stgvcodec.evaluation.results import read_results, write_results
from stgvcodec.media.anchors import ANCHORS
from stgvcodec.metrics.vmaf import VmafProgram
from stgvcodec.progress import Progress
from stgvcodec.report.rd_points import RdResult

RATES = (4.0, 8.0)


def quick(profile: str = "paper") -> EncodeConfig:
    """A configuration with the preset that conftest has only while a test runs."""
    return EncodeConfig(preset="tiny", profile=profile, scene_cut=False)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three noisy frames of 48x32, on which neither side is perfect."""
    return write_folder(noisy_clip(3), tmp_path_factory.mktemp("source") / "waves")


@pytest.fixture(scope="module")
def finished(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two rates and two anchors."""
    path = tmp_path_factory.mktemp("results") / "rd.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", TINY)
        plan = RdPlan(RATES, (quick(),), ("x264", "svtav1"))
        rate_distortion(source, path, plan=plan, device="cpu", note="made of waves")
    return path


@pytest.fixture
def again(finished: Path, tmp_path: Path) -> Path:
    """A copy of the results that a test may go on with."""
    return Path(shutil.copy(finished, tmp_path / "rd.json"))


@pytest.fixture
def no_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was encoded that was there already")

    monkeypatch.setattr(rd, "encode", refuse)
    monkeypatch.setattr(rd_anchors, "encode_anchor", refuse)


def own(result: RdResult) -> tuple[list, list]:
    """Points of the entropy-coded and of the flat series."""
    by_label = dict(zip(result.labels, result.series, strict=True))
    return list(by_label["stgv paper"].points), list(by_label["stgv paper (flat bits)"].points)


def test_points_are_what_the_files_on_the_disk_are(finished: Path, source: Path) -> None:
    result = read_results(finished)

    assert result.labels == ("stgv paper", "stgv paper (flat bits)", "x264 medium", "SVT-AV1 preset 8")
    for series in result.series:
        for point in series.points:
            assert point.bpp == pytest.approx(8 * point.bytes / (48 * 32 * 3), rel=1e-12, abs=0)
            if not series.derived:
                assert (finished.parent / str(point.file)).stat().st_size == point.bytes
    for point in own(result)[0]:
        measured = compare(source, finished.parent / str(point.file), device="cpu")
        assert point.psnr_db == pytest.approx(measured.psnr_db, abs=1e-9)
        assert point.decode_seconds > 0


def test_anchors_come_at_the_rates_asked_for_and_down_to_our_quality(finished: Path) -> None:
    result = read_results(finished)
    lowest = min(point.psnr_db for point in own(result)[0])

    for series in result.series[2:]:
        for rate in RATES:
            point = series.point_at(rate)
            assert point is not None
            at_the_end = point.parameters["crf"] in ANCHORS[series.codec].crf_range
            assert at_the_end or point.bpp == pytest.approx(rate, rel=0.05)
        first = series.points[0]
        assert first.psnr_db <= lowest or first.parameters["crf"] == ANCHORS[series.codec].crf_range[1]


def test_flat_bits_are_another_count_of_the_same_files(finished: Path) -> None:
    coded, flat = own(read_results(finished))

    for point, counted in zip(coded, flat, strict=True):
        n_bits = file_flat_bits(finished.parent / str(point.file))
        assert n_bits is not None
        assert counted.bytes == -(-n_bits // 8)
        assert (counted.psnr_db, counted.requested_bpp) == (point.psnr_db, point.requested_bpp)
        assert counted.file is None


def test_bd_rates_of_every_pair_are_in_the_file(finished: Path) -> None:
    values = json.loads(finished.read_text(), parse_constant=pytest.fail)

    pairs = {(each["series"], each["against"]) for each in values["bd_rate"]}
    assert ("stgv paper", "x264 medium") in pairs
    assert ("stgv paper (flat bits)", "stgv paper") in pairs
    assert len(pairs) == 4 * 3
    assert all((each["percent"] is None) == (each["reason"] is not None) for each in values["bd_rate"])
    assert "PCHIP" in values["measures"]["bd_rate"]


@pytest.mark.usefixtures("no_encoding")
def test_finished_points_are_not_made_again(again: Path, finished: Path, source: Path) -> None:
    plan = RdPlan(RATES[::-1], (quick(),), ("svtav1", "x264"))
    result = rate_distortion(source, again, plan=plan, device="cpu")

    assert result == read_results(finished)
    assert result.note == "made of waves"


@pytest.mark.usefixtures("no_encoding")
def test_anchors_come_in_their_own_order(again: Path, source: Path) -> None:
    result = read_results(again)
    write_results(again, dataclasses.replace(result, series=result.series[::-1]))
    continued = rate_distortion(source, again, plan=RdPlan(RATES, (), ("svtav1", "x264")), device="cpu")

    assert [series.codec for series in continued.series] == ["stgv", "stgv", "x264", "svtav1"]


@pytest.mark.usefixtures("no_encoding")
def test_a_point_that_is_there_answers_a_new_rate_that_it_meets(again: Path, source: Path) -> None:
    (before,) = (series for series in read_results(again).series if series.codec == "x264")
    lowered = next(point for point in before.points if point.requested_bpp is None)
    result = rate_distortion(source, again, plan=RdPlan((*RATES, lowered.bpp), (), ("x264",)), device="cpu")

    (after,) = (series for series in result.series if series.codec == "x264")
    assert after.point_at(lowered.bpp) == dataclasses.replace(lowered, requested_bpp=lowered.bpp)


def test_other_settings_and_rates_are_new_points(again: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def encode(*_: object, config: EncodeConfig, selection: Selection, **__: object) -> None:
        # Sound would count as bits of the pictures.
        assert selection == Selection().pictures_only
        asked.append((config.preset, config.bpp_target))
        raise ConfigError("the file would be smaller than the smallest")

    monkeypatch.setattr(rd, "encode", encode)
    before = read_results(again)
    rate_distortion(source, again, plan=RdPlan((*RATES, 6.0), (quick(),), ()), device="cpu")
    assert asked == [("tiny", 6.0)]
    with pytest.raises(ConfigError, match="none of the rates could be met"):
        rate_distortion(source, again, plan=RdPlan((5.0,), (EncodeConfig(preset="slow"),), ()), device="cpu")
    assert asked[1:] == [("slow", 5.0)]
    assert read_results(again).series == before.series


@pytest.fixture
def encoded_only(source: Path, tmp_path: Path) -> Path:
    """The path for the results of a run that only made two files."""
    path = tmp_path / "rd.json"
    seen: list[Progress] = []
    plan = RdPlan(RATES, (quick("compact"),), ("x264",), encode_only=True)
    assert rate_distortion(source, path, plan=plan, device="cpu", progress=seen.append) is None
    assert seen[-1].fraction == 1.0
    return path


def test_encoding_only_makes_files_and_no_results(encoded_only: Path) -> None:
    assert not encoded_only.exists()
    names = sorted(path.name for path in encoded_only.with_name("rd.json.d").iterdir())
    assert [Path(name).suffix for name in names] == [".json", ".stgv"] * 2
    assert [Path(name).stem.rpartition("-")[2] for name in names] == ["4", "4", "8", "8"]
    assert all(name.startswith("stgv-compact-") for name in names)


def test_a_further_run_measures_files_that_were_only_encoded(
    encoded_only: Path, source: Path, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("no_encoding")
    folder = encoded_only.with_name("rd.json.d")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    result = rate_distortion(source, encoded_only, plan=RdPlan(RATES[:1], (quick("compact"),), ()), device="cpu")

    assert result is not None
    (series,) = result.series
    (point,) = series.points
    assert (series.label, point.requested_bpp, point.file) == (
        "stgv compact",
        4.0,
        f"rd.json.d/{min(before)[:-5]}.stgv",
    )
    record = json.loads(before[min(before)])
    assert (point.encode_seconds, point.device) == (record["seconds"], record["device"])
    assert record["parameters"].items() <= point.parameters.items()
    measured = compare(source, encoded_only.parent / str(point.file), device="cpu")
    assert point.psnr_db == pytest.approx(measured.psnr_db, abs=1e-9)
    assert point.bytes == len(before[Path(str(point.file)).name])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert read_results(encoded_only) == result


def test_files_that_are_there_are_not_encoded_again(
    encoded_only: Path, source: Path, request: pytest.FixtureRequest
) -> None:
    """A file without its figures is, as it may be of a run that was interrupted."""
    request.getfixturevalue("no_encoding")
    plan = RdPlan(RATES, (quick("compact"),), (), encode_only=True)
    assert rate_distortion(source, encoded_only, plan=plan, device="cpu") is None

    (record,) = encoded_only.with_name("rd.json.d").glob("*-8.json")
    record.unlink()
    with pytest.raises(AssertionError, match="encoded that was there already"):
        rate_distortion(source, encoded_only, plan=plan, device="cpu")


def test_an_encode_that_was_interrupted_is_continued_or_by_others_begun_anew(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted, encode_gop = [], gop_job.encode_gop

    def watched(*arguments: object, **options: object) -> object:
        fitted.append(options["seed"])
        return encode_gop(*arguments, **options)

    monkeypatch.setattr(gop_job, "encode_gop", watched)

    def run(*, interrupted: bool, backend: str = "numba") -> None:
        def progress(seen: Progress) -> None:
            if interrupted and "gop 2" in seen.phase:
                raise KeyboardInterrupt

        config = dataclasses.replace(quick("compact"), gop=1)
        plan = RdPlan((24.0,), (config,), (), encode_only=True)
        rate_distortion(source, tmp_path / "rd.json", plan=plan, device="cpu", backend=backend, progress=progress)

    for backend, fits_left in (("numba", [2]), ("reference", [0, 1, 2])):
        with pytest.raises(KeyboardInterrupt):
            run(interrupted=True)
        assert [path.suffix for path in (tmp_path / "rd.json.d").iterdir()] == [".part"]
        fitted.clear()
        run(interrupted=False, backend=backend)
        assert fitted == fits_left
        written = sorted((tmp_path / "rd.json.d").iterdir())
        assert [path.suffix for path in written] == [".json", ".stgv"]
        for path in written:
            path.unlink()


def test_encoding_only_leaves_out_what_cannot_be_met(source: Path, tmp_path: Path) -> None:
    def encode_only(*rates: float) -> None:
        plan = RdPlan(rates, (quick("compact"),), (), encode_only=True)
        rate_distortion(source, tmp_path / "rd.json", plan=plan, device="cpu")

    with pytest.raises(ConfigError, match="stgv compact: none of the rates could be met"):
        encode_only(0.01)
    encode_only(0.01, 4.0)
    assert [path.stem.rpartition("-")[2] for path in tmp_path.rglob("*.stgv")] == ["4"]


@pytest.mark.usefixtures("no_encoding")
def test_results_of_other_frames_are_refused(again: Path, source: Path) -> None:
    before = again.read_text()
    with pytest.raises(ConfigError, match=r"holds points of other frames \(waves, 48x32, 3 frames\)"):
        rate_distortion(source, again, plan=RdPlan(RATES, (quick(),)), selection=Selection(frames=(0, 2)))
    assert again.read_text() == before


def test_an_anchor_that_is_not_there_is_left_out(
    again: Path, source: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    missing = dataclasses.replace(ANCHORS["x265"], encoder="libx299")
    monkeypatch.setitem(ANCHORS, "x265", missing)
    with caplog.at_level("WARNING", logger="stgvcodec"):
        result = rate_distortion(source, again, plan=RdPlan(RATES, (quick(),), ("x265", "x264")), device="cpu")

    assert "x265" not in {series.codec for series in result.series}
    assert "anchor x265" in caplog.text
    assert "libx299" in caplog.text


def test_an_interrupted_run_leaves_what_was_finished(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, n_calls = rd_anchors.encode_anchor, 0

    def interrupted(*arguments: object) -> object:
        nonlocal n_calls
        n_calls += 1
        if n_calls > 6:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    path = tmp_path / "rd.json"
    monkeypatch.setattr(rd_anchors, "encode_anchor", interrupted)
    plan = RdPlan((1.0, 2.0, 3.0, 5.0), (), ("x264",))
    with pytest.raises(KeyboardInterrupt):
        rate_distortion(source, path, plan=plan)
    (kept,) = read_results(path).series
    assert 1 <= len(kept.points) < 4
    assert not list(path.with_name("rd.json.d").glob("scratch-*"))

    monkeypatch.setattr(rd_anchors, "encode_anchor", real)
    (series,) = rate_distortion(source, path, plan=plan).series
    assert len(series.points) == 4
    assert all(point in series.points for point in kept.points)


def test_the_ceiling_of_420_is_recorded(finished: Path, source: Path) -> None:
    result = read_results(finished)

    assert 20 < result.source.yuv420_psnr_db < 45
    assert result.source.yuv420_ms_ssim is None
    assert (result.source.n_frames, result.source.name) == (3, "waves")


def test_vmaf_is_measured_where_it_is_to_be_had(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Program(VmafProgram):
        def score(self, reference: Path, distorted: Path, scratch: Path) -> float:
            assert reference.read_bytes()[:9] == distorted.read_bytes()[:9] == b"YUV4MPEG2"
            return 100.0 if reference.read_bytes() == distorted.read_bytes() else 50.0

    monkeypatch.setattr(VmafProgram, "find", classmethod(lambda cls: Program("ffmpeg", "ffmpeg version 9")))
    clip = Clip.read(source, Selection(), None)
    meter = Meter(clip, tmp_path)

    assert meter.measure(clip.frames()).vmaf == 100
    assert meter.measure(255 - frame for frame in clip.frames()).vmaf == 50
    assert "ffmpeg version 9" in meter.methods["vmaf"]
    assert not list(tmp_path.iterdir())


def test_vmaf_that_fails_is_said_once_and_left_out(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(VmafProgram, "find", classmethod(lambda cls: VmafProgram("/no/such/ffmpeg", "none")))
    monkeypatch.setattr(VmafProgram, "score", lambda *_: (_ for _ in ()).throw(StgvError("no model")))
    clip = Clip.read(source, Selection(), None)
    meter = Meter(clip, tmp_path)
    with caplog.at_level("WARNING", logger="stgvcodec"):
        assert [meter.measure(clip.frames()).vmaf for _ in range(2)] == [None, None]

    assert caplog.text.count("no model") == 1
    assert meter.methods["vmaf"] == "not measured: no model"


def test_missing_frames_are_no_measurement(source: Path, tmp_path: Path) -> None:
    clip = Clip.read(source, Selection(), None)
    with pytest.raises(StgvError, match="only the source frames go on after 1"):
        Meter(clip, tmp_path).measure(list(clip.frames())[:1])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rates": ()}, "expected bits a pixel above 0"),
        ({"rates": (0.1, 0.0)}, "expected bits a pixel above 0"),
        ({"rates": (0.1, float("nan"))}, "expected bits a pixel above 0"),
        ({"rates": (0.1, 0.2, 0.1)}, "rate 0.1 was given twice"),
        ({"anchors": ("x264", "vp9")}, "anchor 'vp9' does not exist; choose of x264, x264-psnr, x265, svtav1"),
        ({"anchors": ("x264", "x264")}, "anchor x264 was given twice"),
        ({"configs": (EncodeConfig(n_gaussians=10),)}, "a number of Gaussians"),
    ],
    ids=str,
)
def test_plans_that_cannot_be_met(values: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        RdPlan(**{"rates": (0.1,), "configs": (quick(),), **values})  # type: ignore[arg-type]


def test_files_that_are_not_results(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not text"):
        read_results(tmp_path / "a.json")
    with pytest.raises(InputVideoError, match=r"b\.json: cannot be read"):
        read_results(tmp_path / "b.json")


def test_an_anchor_that_refuses_half_way_keeps_its_points(
    again: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise BackendUnavailableError("anchor x264: is tired")

    monkeypatch.setattr(rd_anchors, "encode_anchor", refuse)
    before = read_results(again)
    result = rate_distortion(source, again, plan=RdPlan((*RATES, 6.0), (), ("x264",)))

    assert result.series == before.series
