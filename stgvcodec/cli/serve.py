"""The command `stgvcodec serve`."""

from __future__ import annotations

import logging
import signal
import webbrowser
from pathlib import Path

import click

from stgvcodec.cli import output, paths
from stgvcodec.cli.exits import Interrupted
from stgvcodec.cli.hints import check_address
from stgvcodec.cli.play import has_display
from stgvcodec.cli.sections import SectionedCommand
from stgvcodec.cli.verbosity import Verbosity, verbosity_options
from stgvcodec.errors import naming_file

_log = logging.getLogger(__name__)


@click.command("serve", cls=SectionedCommand, short_help="Play .stgv files in a browser.")
@click.argument("files", metavar="FILE...", type=paths.ENCODED_PATH, nargs=-1, required=True)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Address to listen on. The default is for this machine alone; 0.0.0.0 lets others in.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    metavar="N",
    help="Port to listen on; 0 for any that is free.",
)
@click.option(
    "--open/--no-open",
    "open_page",
    default=None,
    help="Whether to open the page in the browser.  [default: where there is a display]",
)
@verbosity_options
def serve_command(
    verbosity: Verbosity, files: tuple[Path, ...], *, host: str, port: int, open_page: bool | None
) -> None:
    """Serve a page that plays the .stgv files FILE..., until Ctrl-C ends it.

    The browser decodes; this is a web server of files, with byte ranges, for the page of the player and the files that
    are named, and for nothing else. The page needs no network. The same page can be put on any web server: it is the
    folder `web` of the package.
    """
    # The standard library's server takes a tenth of a second to import, which `--help` need not wait for.
    from stgvcodec.bitstream.container.chunks import MAGIC
    from stgvcodec.bitstream.container.reader import check_magic
    from stgvcodec.cli.page_server import PageServer

    for file in files:
        check_address(file, "stgvcodec play -")
    with PageServer(files, host, port) as server:
        for file in files:
            with naming_file(str(file)), file.open("rb") as opened:
                check_magic(opened.read(len(MAGIC)))
        if not server.is_loopback:
            _log.warning("everybody who can reach %s over the network can read the files", host)
        if verbosity.level >= 0:
            what = output.name(Path(files[0].name)) if len(files) == 1 else output.counted(len(files), "file")
            output.print_result(f"{server.url} plays {what}; Ctrl-C ends it")
        if has_display() if open_page is None else open_page:
            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except Interrupted as interrupted:
            # Ctrl-C is how a server is meant to end.
            if interrupted.exit_code != 128 + signal.SIGINT:
                interrupted.add_note("serving has ended")
                raise
