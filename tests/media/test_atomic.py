from __future__ import annotations

import errno
from pathlib import Path

import pytest
from clips import files_under

from stgvcodec.errors import ConfigError, OutputError
from stgvcodec.media import atomic_folder, atomic_output, check_output_file, check_output_folder, refuse_same_file


def write_half(destination: Path, failure: type[BaseException]) -> None:
    with atomic_output(destination) as part:
        part.write_bytes(b"half")
        raise failure


def write_half_a_folder(destination: Path) -> None:
    with atomic_folder(destination) as part:
        (part / "0.png").write_bytes(b"x")
        raise KeyboardInterrupt


def test_the_file_appears_when_the_block_ends(tmp_path):
    with atomic_output(tmp_path / "out.bin") as part:
        assert part.parent == tmp_path
        assert part.name.startswith(".out.bin.part-")
        part.write_bytes(b"whole")
        assert files_under(tmp_path) == [part.name]
    assert files_under(tmp_path) == ["out.bin"]
    assert (tmp_path / "out.bin").read_bytes() == b"whole"


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("existing", [None, b"precious"], ids=["new", "existing"])
def test_a_failure_leaves_nothing_and_overwrites_nothing(tmp_path, failure, existing):
    destination = tmp_path / "out.bin"
    if existing is not None:
        destination.write_bytes(existing)
    with pytest.raises(failure):
        write_half(destination, failure)
    assert files_under(tmp_path) == ([] if existing is None else ["out.bin"])
    assert existing is None or destination.read_bytes() == existing


def test_an_existing_file_is_replaced_at_the_end(tmp_path):
    (tmp_path / "out.bin").write_bytes(b"old")
    with atomic_output(tmp_path / "out.bin") as part:
        part.write_bytes(b"new")
        assert (tmp_path / "out.bin").read_bytes() == b"old"
    assert (tmp_path / "out.bin").read_bytes() == b"new"


def test_a_symbolic_link_stays_a_link(tmp_path):
    (tmp_path / "real.bin").write_bytes(b"old")
    (tmp_path / "link.bin").symlink_to(tmp_path / "real.bin")
    with atomic_output(tmp_path / "link.bin") as part:
        part.write_bytes(b"new")
    assert (tmp_path / "link.bin").is_symlink()
    assert (tmp_path / "real.bin").read_bytes() == b"new"


@pytest.mark.parametrize(
    "name", ["n" * 255, "n" * 245 + ".stgv", "\u00e9" * 125 + ".y4m"], ids=["255", "250", "accents"]
)
@pytest.mark.parametrize("output", [atomic_output, atomic_folder])
def test_a_name_as_long_as_names_can_be(tmp_path, name, output):
    with output(tmp_path / name) as part:
        (part if output is atomic_output else part / "file").write_bytes(b"done")

    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_full_disk_is_an_output_error(tmp_path):
    with (
        pytest.raises(OutputError, match=r"out\.bin: cannot be written: No space left"),
        atomic_output(tmp_path / "out.bin"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert files_under(tmp_path) == []


def test_other_peoples_os_errors_pass_through(tmp_path):
    with pytest.raises(PermissionError), atomic_output(tmp_path / "out.bin"):
        raise PermissionError(errno.EACCES, "Permission denied", "input.mp4")


REFUSED = {
    "a folder": (check_output_file, "full", "is a folder"),
    "no parent": (check_output_file, "missing/out.bin", r"missing does not exist; create it first"),
    "the parent is a file": (check_output_file, "file/out.bin", "does not exist"),
    "a long name": (check_output_file, "x" * 300, "cannot be written: File name too long"),
    "a folder that is not empty": (check_output_folder, "full", "not empty"),
    "a file": (check_output_folder, "file", "is a file"),
    "a folder without a parent": (check_output_folder, "missing/frames", "does not exist"),
}


@pytest.mark.parametrize(("check", "name", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_written_is_refused_first(tmp_path, check, name, message):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").write_text("x")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=message):
        check(tmp_path / name)
    assert files_under(tmp_path) == ["file", "full", "full/precious.txt"]


def test_devices_are_not_replaced():
    with pytest.raises(OutputError, match="not a regular file"):
        check_output_file("/dev/null")


def test_a_read_only_parent_is_refused(tmp_path, monkeypatch):
    # Patched, since nothing is read-only to root.
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(OutputError, match="is not writable"):
        check_output_file(tmp_path / "out.bin")


@pytest.mark.parametrize("exists", [False, True], ids=["new", "empty"])
def test_the_folder_appears_when_the_block_ends(tmp_path, exists):
    destination = tmp_path / "frames"
    if exists:
        destination.mkdir()
    with atomic_folder(destination) as part:
        (part / "0.png").write_bytes(b"x")
        assert not (destination / "0.png").exists()
    assert files_under(tmp_path) == ["frames", "frames/0.png"]


def test_a_failed_folder_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_half_a_folder(tmp_path / "frames")
    assert files_under(tmp_path) == []


@pytest.mark.parametrize("destination", ["a.mp4", "folder/../a.mp4", "link.mp4", "hard.mp4"])
def test_the_input_is_not_overwritten(tmp_path, destination):
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.mp4").write_bytes(b"x")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "a.mp4")
    (tmp_path / "hard.mp4").hardlink_to(tmp_path / "a.mp4")
    with pytest.raises(ConfigError, match="would overwrite the input"):
        refuse_same_file(tmp_path / "a.mp4", tmp_path / destination)


def test_an_output_inside_the_input_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="lies in the folder"):
        refuse_same_file(tmp_path, tmp_path / "out.stgv")
    refuse_same_file(tmp_path / "in.mp4", tmp_path / "out.stgv")
