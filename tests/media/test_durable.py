from __future__ import annotations

import pytest

from stgvcodec.errors import OutputError
from stgvcodec.media.durable import DurableFile


@pytest.fixture
def file(tmp_path):
    file = DurableFile(tmp_path / "file", "destination")
    yield file
    file.close()


def test_there_is_nothing_before_the_first_piece(file):
    assert not file.open()
    file.remove()
    assert not file.path.exists()


def test_pieces_follow_each_other_and_are_read_back(file):
    assert [file.append(data) for data in (b"abc", b"", b"de")] == [0, 3, 3]
    assert file.path.read_bytes() == b"abcde"
    assert b"".join(file.blocks(1, 4)) == b"bcd"
    assert file.n_bytes == 5


def test_what_is_not_kept_goes_with_the_next_piece(file):
    file.path.write_bytes(b"abcdefgh")
    assert file.open()
    assert file.n_bytes == 8
    file.n_bytes = 3
    assert file.append(b"X") == 3
    assert file.path.read_bytes() == b"abcX"


def test_nothing_kept_is_another_file(file):
    file.path.write_bytes(b"abc")
    number = file.path.stat().st_ino
    link = file.path.with_name("link")
    link.hardlink_to(file.path)
    file.open()
    file.n_bytes = 0
    assert file.path.read_bytes() == b"abc"

    assert file.append(b"X") == 0
    assert (file.path.read_bytes(), link.read_bytes(), link.stat().st_ino) == (b"X", b"abc", number)


def test_one_at_a_time_writes(file):
    file.append(b"abc")
    other = DurableFile(file.path, "other")
    with pytest.raises(OutputError, match="another process is writing it; wait for it to end"):
        other.open()
    file.close()
    assert other.open()
    other.close()


def test_a_file_that_another_has_made_meanwhile_is_left(file):
    assert not file.open()
    file.path.write_bytes(b"theirs")
    with pytest.raises(OutputError, match="another process has made it meanwhile"):
        file.append(b"mine")
    file.remove()
    assert file.path.read_bytes() == b"theirs"


def test_a_file_that_was_replaced_is_left(file):
    file.append(b"mine")
    file.path.rename(file.path.with_name("elsewhere"))
    file.path.write_bytes(b"theirs")
    with pytest.raises(OutputError, match="was moved while it was written"):
        file.append(b"more")
    file.remove()
    assert file.path.read_bytes() == b"theirs"


def test_a_file_that_was_removed_is_put_back(file, caplog):
    file.append(b"abc")
    file.path.unlink()
    file.append(b"d")
    assert file.path.read_bytes() == b"abcd"
    assert caplog.messages == [f"{file.path}: was removed while it was written: it is put back"]


def test_what_is_no_file_is_in_the_way(file):
    file.path.mkdir()
    with pytest.raises(OutputError, match="is in the way of what is written there; move it"):
        file.open()


def test_a_file_that_is_cut_short_is_noticed(file):
    file.append(b"abcdef")
    with file.path.open("r+b") as other:
        other.truncate(2)
    with pytest.raises(OutputError, match="was cut short while it was written"):
        list(file.blocks(0, 6))
