from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# What a shell asks is answered by this program, whose name is the one that is completed.
PROGRAM = f"""#!{sys.executable}
import sys
from stgvcodec.cli import main
sys.exit(main())
"""
BASH = """
eval "$(stgvcodec completion bash)"
complete -p stgvcodec >&2
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
compopt() { echo "compopt $*" >&2; }
_stgvcodec_completion stgvcodec
printf '%s\\n' "${COMPREPLY[@]}"
"""
FISH = "source (stgvcodec completion fish | psub); complete -C"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with files of several kinds; the program is on the PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "stgvcodec").write_text(PROGRAM)
    (programs / "stgvcodec").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    files = tmp_path / "files"
    files.mkdir()
    for name in ("a.stgv", "two words.stgv", "film.MP4", "film.mkv", "notes.txt", "points.json"):
        (files / name).touch()
    (files / "images").mkdir()
    monkeypatch.chdir(files)
    return files


def in_bash(*words: str) -> tuple[set[str], str]:
    """What bash offers for the last word, and what it was told beside."""
    command = ["bash", "--norc", "--noprofile", "-c", BASH, "bash", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # Lines of the pattern are parted by a newline in IFS.
    return set(done.stdout.split("\n")) - {""}, " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["stgvcodec", "d"], {"decode", "demo", "doctor"}),
        (["stgvcodec", "decode", ""], {"a.stgv", "two words.stgv", "images"}),
        (["stgvcodec", "play", "t"], {"two words.stgv"}),
        (["stgvcodec", "verify", "a.stgv", ""], {"a.stgv", "two words.stgv", "images"}),
        (["stgvcodec", "encode", ""], {"film.MP4", "film.mkv", "images"}),
        (["stgvcodec", "compare", "film.mkv", ""], {"film.MP4", "film.mkv", "a.stgv", "two words.stgv", "images"}),
        (["stgvcodec", "rd", "--plot-only", "p"], {"points.json"}),
        (["stgvcodec", "encode", "film.mkv", "out.stgv", "--preset", "s"], {"slow"}),
        (["stgvcodec", "encode", "film.mkv", "out.stgv", "--profile", ""], {"compact", "paper"}),
        (["stgvcodec", "decode", "a.stgv", "out.mp4", "--device", ""], {"auto", "cpu", "cuda"}),
        (["stgvcodec", "decode", "a.stgv", "out.mp4", "--no-"], {"--no-audio", "--no-subtitles", "--no-metadata"}),
        (["stgvcodec", "completion", "b"], {"bash"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bash_is_offered_what_fits(folder: Path, words: list[str], offered: set[str]) -> None:
    assert in_bash(*words)[0] == offered


def test_bash_completes_other_files_itself(folder: Path) -> None:
    assert "complete -o nosort -F _stgvcodec_completion stgvcodec" in in_bash("stgvcodec", "d")[1]
    assert "compopt -o default" in in_bash("stgvcodec", "decode", "a.stgv", "o")[1]
    assert "compopt -o dirnames" in in_bash("stgvcodec", "demo", "--output", "")[1]
    # There is no video of such a name, so that any file may be meant.
    offered, told = in_bash("stgvcodec", "encode", "no")
    assert offered == set()
    assert "compopt -o default" in told


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish")
def test_fish_is_offered_what_fits(folder: Path) -> None:
    def offered(line: str) -> set[str]:
        done = subprocess.run(["fish", "-c", f"{FISH} '{line}'"], capture_output=True, text=True, check=True)
        return {each.partition("\t")[0] for each in done.stdout.splitlines()}

    assert offered("stgvcodec d") == {"decode", "demo", "doctor"}
    assert offered("stgvcodec decode ") == {"a.stgv", "two words.stgv", "images/"}
    assert offered("stgvcodec encode a b --profile ") == {"compact", "paper"}


@pytest.mark.parametrize(
    ("shell", "first"),
    [("bash", "_stgvcodec_completion() {"), ("zsh", "#compdef stgvcodec"), ("fish", "function _stgvcodec_completion")],
)
def test_scripts_are_printed_whole_and_shells_can_read_them(cli, tmp_path: Path, shell: str, first: str) -> None:
    outcome = cli("completion", shell)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(first)
    # Nothing is left to be filled in.
    assert not re.search(r"%\(|%%", outcome.out.replace("%%,*", "", 1) if shell == "bash" else outcome.out)
    if shutil.which(shell):
        (tmp_path / "script").write_text(outcome.out)
        subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)


def test_zsh_gets_helps_and_values(fresh_cli) -> None:
    environment = {"_STGVCODEC_COMPLETE": "zsh_complete", "COMP_WORDS": "stgvcodec doc", "COMP_CWORD": "1"}
    lines = fresh_cli(environment=environment).out.splitlines()
    assert lines == ["plain", "doctor", "Say what works on this machine, and what mends the rest."]


def test_a_shell_without_completion_is_refused(cli) -> None:
    cli("completion", "tcsh").assert_refused(2, "'tcsh' is not one of 'bash', 'zsh', 'fish'")
