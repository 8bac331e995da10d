from __future__ import annotations

import subprocess
import sys

from clips import files_under

from stgvcodec.evaluation.scratch import scratch_folder


def test_nothing_is_left_behind_it(tmp_path):
    with scratch_folder(tmp_path) as folder:
        assert folder.parent == tmp_path
        (folder / "file").write_bytes(b"x")
    assert list(tmp_path.iterdir()) == []


def test_two_at_a_time_leave_each_other_alone(tmp_path):
    with scratch_folder(tmp_path) as one, scratch_folder(tmp_path) as other:
        assert one != other
        assert one.is_dir()
        assert other.is_dir()


def test_that_of_a_killed_process_is_removed_and_others_are_not(tmp_path):
    for name in ("results", "scratch-made-just-now"):
        (tmp_path / name).mkdir()
    (tmp_path / "results" / "kept").touch()
    killed = (
        "import os, pathlib, signal, sys; from stgvcodec.evaluation.scratch import scratch_folder\n"
        "with scratch_folder(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'large').touch(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", killed, str(tmp_path)], check=False)
    assert any(name.endswith("large") for name in files_under(tmp_path))

    with scratch_folder(tmp_path):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results", "scratch-made-just-now"]
    assert files_under(tmp_path / "results") == ["kept"]
