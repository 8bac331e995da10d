from __future__ import annotations

import json
import re
import subprocess
import sys

import click
import pytest

from stgvcodec import __version__
from stgvcodec.cli import commands
from stgvcodec.cli.sections import SECTIONS

COMMANDS = (
    "compare",
    "completion",
    "conformance",
    "decode",
    "demo",
    "doctor",
    "encode",
    "info",
    "inspect",
    "play",
    "rd",
    "serve",
    "verify",
)


def test_version(cli) -> None:
    outcome = cli("--version")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == f"stgvcodec, version {__version__}\n"


def test_without_arguments_help_is_shown(cli) -> None:
    assert cli() == cli("--help")
    assert all(f"\n  {command} " in cli().out for command in COMMANDS)


def test_the_commands_are_those_promised() -> None:
    assert sorted(commands.commands) == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_is_explained(command: str) -> None:
    for parameter in commands.commands[command].params:
        if parameter.param_type_name == "option":
            assert parameter.help, parameter.name


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in COMMANDS)], ids=" ".join)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import json, sys\n"
        "from stgvcodec.cli import main\n"
        f"code = main({arguments})\n"
        "heavy = ('av', 'constriction', 'matplotlib', 'numba', 'scipy', 'torch')\n"
        "print(json.dumps([code, sorted(m for m in heavy if m in sys.modules)]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    *help_lines, last = done.stdout.splitlines()
    assert json.loads(last) == [0, []]
    assert help_lines[0].startswith("Usage: stgvcodec")


def test_python_m_runs_it_and_hands_on_the_exit_code(fresh_cli) -> None:
    assert fresh_cli("--version").out == f"stgvcodec, version {__version__}\n"
    assert fresh_cli("encode").code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["frobnicate"], "No such command 'frobnicate'; see 'stgvcodec --help'"),
        (["encode", "a"], "Missing argument 'OUTPUT'; see 'stgvcodec encode --help'"),
        (["encode", "a", "b", "--preset", "turbo"], "'turbo' is not one of 'draft', 'fast'"),
        (["encode", "a", "b", "--gaussians", "many"], "'many' is not a valid integer"),
        (["encode", "a", "b", "--frobnicate"], "No such option"),
        (["decode", "a", "b", "--crop", "4x4"], "No such option"),
        (["info", "a", "-q", "-v"], "--quiet and --verbose were both given"),
        (["encode", "a", "b", "--frames", "5"], "frames '5': expected A:B"),
        (["encode", "a", "b", "--frames", "5:5"], "range is empty"),
        (["encode", "a", "b", "--resize", "0x4"], "resize 0x4"),
        (["compare", "a", "b", "--crop", "4"], "crop '4': expected WxH"),
        (["encode", "a", "b", "--gop", "0"], "frames per GoP: got 0, expected 1 to"),
        (["encode", "a", "b", "--bpp-target", "nan"], "bpp target is nan"),
        (["encode", "a", "b", "--bpp-target", "1", "--gaussians", "9"], "drop one"),
        (["encode", "a", "b", "--size-target", "1k", "--psnr-target", "30"], "drop one"),
        (["encode", "a", "b", "--size-target", "many"], "expected a number of bytes"),
        (["encode", "a", "b", "--json", "b"], "--json b: is the input or output of the same run"),
        (["encode", "a", "b", "--mask", "c", "--json", "c"], "--json c: is the input or output of the same run"),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, list) else "",
)
def test_wrong_use_is_one_line_and_exit_code_2(cli, arguments: list[str], said: str) -> None:
    cli(*arguments).assert_refused(2, re.escape(said))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_every_option_under_a_heading_in_order(cli, command: str) -> None:
    shown = cli(command, "--help").out
    assert "\nOptions:\n" not in shown
    headings = [line[:-1] for line in shown.splitlines() if line.endswith(":") and not line.startswith((" ", "Usage"))]
    assert headings == [title for title in SECTIONS if title in headings]
    for parameter in commands.commands[command].params:
        if parameter.param_type_name == "option":
            assert sum(parameter.name in names for names in SECTIONS.values()) == 1, parameter.name
            assert parameter.opts[-1] in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_every_value_has_its_default_said(cli, command: str) -> None:
    context = click.Context(commands.commands[command])
    for parameter in commands.commands[command].params:
        if isinstance(parameter, click.Option) and not parameter.is_flag and not parameter.count:
            _, text = parameter.get_help_record(context) or ("", "")
            assert parameter.required or "default: " in text, parameter.name


def test_no_section_names_an_option_that_no_command_has() -> None:
    there = {parameter.name for command in commands.commands.values() for parameter in command.params}
    assert {name for names in SECTIONS.values() for name in names} - there == {"help"}
