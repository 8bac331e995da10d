from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
import torch

from stgvcodec import FrameBatch, VideoDecoder
from stgvcodec.integrations.webdataset_handler import StgvHandler

webdataset = pytest.importorskip("webdataset")
GOLDEN = Path(__file__).parent.parent / "golden"
NAMES = ("compact", "two_gops")


@pytest.fixture
def shard(tmp_path) -> str:
    """Two samples, each with a video, its name and a text."""
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as tar:
        for name in NAMES:
            for extension, data in ((".clip.stgv", (GOLDEN / f"{name}.stgv").read_bytes()), (".txt", name.encode())):
                member = tarfile.TarInfo(name + extension)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return str(path)


def test_samples_of_a_shard(shard):
    samples = list(webdataset.WebDataset(shard, shardshuffle=False).decode(StgvHandler()))

    assert [sample["txt"] for sample in samples] == list(NAMES)
    for name, sample in zip(NAMES, samples, strict=True):
        batch = sample["clip.stgv"]
        with VideoDecoder(GOLDEN / f"{name}.stgv", device="cpu") as decoder:
            expected = decoder.get_all_frames()
        assert isinstance(batch, FrameBatch)
        assert torch.equal(batch.data, expected.data)
        assert torch.equal(batch.pts_seconds, expected.pts_seconds)


def test_what_is_taken_can_be_said(shard):
    handler = StgvHandler(lambda decoder: decoder[-2:])
    pictures = [sample["clip.stgv"] for sample in webdataset.WebDataset(shard, shardshuffle=False).decode(handler)]
    assert [list(each.shape) for each in pictures] == [[2, 3, 27, 40], [2, 3, 32, 48]]


def test_other_fields_are_left_to_others():
    assert StgvHandler()(".txt", b"a text") is None
    assert StgvHandler()("stgv.png", b"a picture") is None


def test_a_damaged_file_names_its_sample(tmp_path):
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("bad.stgv")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"junk"))
    with pytest.raises(webdataset.autodecode.DecodingError) as caught:
        next(iter(webdataset.WebDataset(str(path), shardshuffle=False).decode(StgvHandler())))
    assert caught.value.key == "bad"
    assert "not a .stgv file" in str(caught.value.__cause__)
