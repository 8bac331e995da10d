from __future__ import annotations

import re
import sys

import pytest

from stgvcodec.cli.decode import decode_command
from stgvcodec.cli.encode import encode_command
from stgvcodec.cli.hints import _HINTS
from stgvcodec.media.image_folder import IMAGE_SUFFIXES

COMMANDS = {"encode": encode_command, "decode": decode_command}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("encode -i in.mp4 out.stgv", "'-i': the input is the first argument, without an option"),
        (
            "encode in.mp4 -crf 23 out.stgv",
            "'-crf': use --psnr-target DB for a quality, --size-target BYTES",
        ),
        ("encode in.mp4 out.stgv --crf 23", "'--crf': use --psnr-target DB"),
        ("encode in.mp4 out.stgv --crf=23", "'--crf': use --psnr-target DB"),
        ("encode in.mp4 -b:v 1M out.stgv", "'-b:v': use --psnr-target DB"),
        ("encode in.mp4 -ss 3 -t 4 out.stgv", "'-ss': a part is taken by --time A:B, in seconds, or --frames A:B"),
        ("encode in.mp4 -c:v libx264 out.stgv", "'-c:v': the codec is this one"),
        ("encode in.mp4 out.stgv -vf scale=64:48", "'-vf': use --crop WxH+X+Y and --resize WxH"),
        ("encode in.mp4 out.stgv -r 25", "'-r': --fps RATE is the rate of images; the times of a video are kept"),
        ("encode in.mp4 out.stgv -an", "'-an': use --no-audio"),
        ("decode in.stgv out.mp4 -sn", "'-sn': use --no-subtitles"),
        ("decode in.stgv -c:a copy out.mp4", "'-c:a': sound and subtitles are kept as they are"),
        ("decode -i in.stgv out.mp4", "'-i': the input is the first argument, without an option"),
        ("decode in.stgv -c:v libx265 -crf 20 out.mp4", "'-c:v': use --codec NAME"),
        ("decode in.stgv -q:v 2 out.mp4", "'-q:v': use --crf N"),
        ("decode in.stgv -r 25 out.mp4", "'-r': use --fps RATE"),
        ("decode in.stgv --crop 4x4 out.mp4", "'--crop': use --roi X,Y,W,H"),
        ("decode in.stgv -vf scale=64:48 out.mp4", "'-vf': use --size WxH, --scale F"),
    ],
)
def test_options_of_ffmpeg_are_answered_with_ours(cli, arguments: str, said: str) -> None:
    command = arguments.split()[0]
    cli(*arguments.split()).assert_refused(2, re.escape(f"No such option {said}"))
    assert f"; see 'stgvcodec {command} --help'" in cli(*arguments.split()).err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_that_a_hint_names_is_there_and_none_is_answered_that_is(command: str) -> None:
    own = {name for parameter in COMMANDS[command].params for name in parameter.opts}
    theirs = {name for other in COMMANDS.values() for parameter in other.params for name in parameter.opts}
    for asked, hint in _HINTS[command].items():
        assert asked not in own or asked in ("-q", "-v"), asked
        named = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", hint))
        assert named <= (theirs if "decode has" in hint else own), hint


def test_other_options_have_clicks_own_answer(cli) -> None:
    cli("encode", "a", "b", "--pre").assert_refused(2, "No such option")
    cli("encode", "a", "b", "--presett", "draft").assert_refused(2, r"No such option.*--presett.*--preset")
    cli("info", "a", "-i").assert_refused(2, "No such option")


def test_images_that_the_shell_has_listed_are_told_to_be_quoted(cli) -> None:
    for suffix in IMAGE_SUFFIXES:
        listed = [f"a_{number}{suffix}" for number in range(3)]
        cli("encode", *listed, "out.stgv").assert_refused(2, "put the name in quotes, so that the shell leaves it")
    cli("encode", "a.mp4", "b.stgv", "c").assert_refused(2, "unexpected extra argument")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("encode x.stgv in.mp4", "look swapped: the input comes first; try: stgvcodec encode in.mp4 x.stgv"),
        ("encode x.stgv folder", "try: stgvcodec encode folder x.stgv"),
        ("decode out.mp4 in.stgv", "look swapped: the input comes first; try: stgvcodec decode in.stgv out.mp4"),
        ("encode x.stgv y.stgv", "x.stgv: is encoded already; to do it anew, try: stgvcodec decode x.stgv - |"),
        (
            "encode https://a.b/c.mp4 x.stgv",
            "https://a.b/c.mp4: is an address, expected a file; try: curl -L https://a.b/c.mp4 | "
            "stgvcodec encode - x.stgv; or install fsspec, which reads addresses: pip install 'stgvcodec[remote]'",
        ),
        (
            "encode in.mp4 s3://a/x.stgv",
            "s3://a/x.stgv: is an address that nothing here writes to; write a file, or in",
        ),
        ("decode x.stgv s3://a/x.mp4", "s3://a/x.mp4: is an address that nothing here writes to; write a file, or "),
        (
            "encode rtsp://a.b/c x.stgv",
            "try: ffmpeg -i rtsp://a.b/c -c copy -f matroska - | stgvcodec encode - x.stgv",
        ),
        ("info s3://a/c.stgv", "expected a file; copy it to one first, or pipe it to: stgvcodec info -"),
        ("info https://a.b/c.stgv", "https://a.b/c.stgv: is an address, expected a file; try: curl -L"),
        ("decode http://a.b/c.stgv x.mp4", "try: curl -L http://a.b/c.stgv | stgvcodec decode - x.mp4"),
    ],
)
def test_swapped_arguments_and_addresses_are_recognised(cli, tmp_path, monkeypatch, arguments: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    # With fsspec `encode` and `decode` take the addresses that it knows.
    monkeypatch.setitem(sys.modules, "fsspec.registry", None)
    cli(*arguments.split()).assert_refused(2, re.escape(said))
    assert list(tmp_path.iterdir()) == []


def test_an_address_of_no_known_scheme_is_not_written_to_as_a_path(cli, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    cli("encode", "in.mp4", "nothing://a/x.stgv").assert_refused(
        2, "nothing://a/x.stgv: is an address that nothing here"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("has_fsspec", [True, False])
@pytest.mark.parametrize("command", ["encode in.mp4 http://a.b/x.stgv", "decode x.stgv https://a.b/x.mp4"])
def test_an_output_that_can_only_be_read_is_refused(cli, monkeypatch, command: str, has_fsspec: bool) -> None:
    if not has_fsspec:
        monkeypatch.setitem(sys.modules, "fsspec.registry", None)
    url = command.split()[-1]
    cli(*command.split()).assert_refused(5, re.escape(f"{url}: can only be read; choose another output"))


def test_names_are_quoted_for_a_shell(cli, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.registry", None)
    cli("encode", "a b.stgv", "c d.mp4").assert_refused(2, re.escape("stgvcodec encode 'c d.mp4' 'a b.stgv'"))
    cli("encode", "http://a/b?c&d", "e.stgv").assert_refused(2, re.escape("curl -L 'http://a/b?c&d' |"))
