"""Hooks of the documentation site.

The site shows some files that lie outside `docs/`, without a copy of them, and links work in both places: a link that
leads from one file of the repository to another leads from page to page on the site. A link to a file that the site
does not show becomes plain text, and a link to a file that does not exist stops the build.
"""

from __future__ import annotations

import posixpath
import re
import textwrap
from pathlib import Path

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import stgvcodec
from stgvcodec.cli import commands

ROOT = Path(__file__).parent.parent

FROM_ROOT = (
    "bitstream_spec.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "results/*.md",
    "results/*.png",
    "stgvcodec/ops/*/README.md",
    "web/index.html",
    "web/page.css",
    "web/icon.svg",
    "web/*/*.js",
    "web/*/*.css",
)
"""Files outside `docs/` that the site shows, under their paths in the repository."""

_HELP_WIDTH = 100
_FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?P<bang>!?)\[(?P<label>[^\[\]]*)\]\((?P<target>[^()\s]+)\)")
_PAIR_OF_BRACKETS = re.compile(r"`[^`\n]*`|\]\[")
_API_NAME = re.compile(r"^::: stgvcodec\.(\w+)$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files of `FROM_ROOT`."""
    for pattern in FROM_ROOT:
        for path in sorted(ROOT.glob(pattern)):
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages, outside of code blocks."""
    if page.file.src_uri == "command_line.md":
        markdown = f"{markdown}\n{_commands()}"
    if page.file.src_uri == "api.md":
        _check_public_names(markdown)
    if page.file.src_uri == "decisions/README.md":
        _check_decisions(markdown)
    parts: list[str] = []
    end = 0
    for fence in _FENCE.finditer(markdown):
        parts += [_with_site_links(markdown[end : fence.start()], page.file, files), fence[0]]
        end = fence.end()
    return "".join([*parts, _with_site_links(markdown[end:], page.file, files)])


def _commands() -> str:
    """Return the help of every command as Markdown, with the options under their headings."""
    program = click.Context(commands, info_name="stgvcodec", terminal_width=_HELP_WIDTH, **commands.context_settings)
    parts = []
    for name, command in sorted(commands.commands.items()):
        context = click.Context(command, info_name=name, parent=program)
        usage, _, rest = command.get_help(context).partition("\n\n")
        parts.append(f"## {name}\n\n```text\n{usage}\n\n{textwrap.dedent(rest).rstrip()}\n```\n")
    return "\n".join(parts)


def _check_public_names(markdown: str) -> None:
    """Refuse a page of the API that does not have exactly the public names."""
    shown, public = set(_API_NAME.findall(markdown)), set(stgvcodec.__all__) - {"__version__"}
    if shown != public:
        raise PluginError(f"docs/api.md: got {sorted(shown)}, expected the names of __all__, {sorted(public)}")


def _check_decisions(markdown: str) -> None:
    """Refuse an index that lacks a decision, or does not have them in order."""
    listed = re.findall(r"\]\((\d{4}-[^)]*\.md)\)", markdown)
    there = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    if listed != there:
        raise PluginError(f"docs/decisions/README.md: got {listed}, expected every decision in order: {there}")


def _with_site_links(text: str, source: File, files: Files) -> str:
    folder = posixpath.dirname(_path_in_repository(source))

    def on_site(link: re.Match[str]) -> str:
        path, hash_sign, anchor = link["target"].partition("#")
        if not path or ":" in path:
            return link[0]
        wanted = posixpath.normpath(posixpath.join(folder, path))
        page = _page_of(wanted, files)
        if page is not None:
            relative = posixpath.relpath(page, posixpath.dirname(source.src_uri) or ".")
            return f"{link['bang']}[{link['label']}]({relative}{hash_sign}{anchor})"
        if not link["bang"] and (ROOT / wanted).exists():
            return link["label"]
        return link[0]  # MkDocs says that it leads nowhere.

    # Shapes such as [n][2] are no references to headings.
    escaped = _PAIR_OF_BRACKETS.sub(lambda match: r"]\[" if match[0] == "][" else match[0], text)
    return _LINK.sub(on_site, escaped)


def _path_in_repository(file: File) -> str:
    return file.src_uri if file.generated_by else f"docs/{file.src_uri}"


def _page_of(path: str, files: Files) -> str | None:
    """Path on the site of a file or folder of the repository; None where the site does not have it."""
    uri = path.removeprefix("docs/")
    return next((name for name in (uri, f"{uri}/README.md", f"{uri}/index.md") if files.get_file_from_path(name)), None)
