"""Runs the command line for `python -m stgvcodec`."""

from __future__ import annotations

import sys

from stgvcodec.cli import main

sys.exit(main())
