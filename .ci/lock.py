"""Write, or check, the exact versions of everything that .ci/run installs besides torch: .ci/constraints.txt.

python .ci/lock.py           # installs the newest versions that pyproject.toml allows afresh, and writes them
python .ci/lock.py --check   # compares the packages of the environment that runs it with the file

torch and what comes with a CUDA build of it are not in the file: .ci/run installs torch first, in a line of its own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOCK = ROOT / ".ci" / "constraints.txt"
HEAD = """\
# Exact versions of everything that .ci/run installs besides torch. Written by: python .ci/lock.py
"""
# pip and setuptools come with Python, torch's parts for CUDA with torch; none of them is chosen here.
NOT_LOCKED = re.compile(r"^(stgvcodec|torch|pip|setuptools|wheel|nvidia-.*|cuda-.*)$")
_LIST = "import json, runpy; print(json.dumps(runpy.run_path('.ci/lock.py')['installed']()))"


def normal(name: str) -> str:
    """Return the name of a package as package registries compare them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed() -> dict[str, str]:
    """Return the version of each package of this environment that is to be locked, by name."""
    found = {normal(package.metadata["Name"]): package.version for package in distributions()}
    return {name: version for name, version in sorted(found.items()) if not NOT_LOCKED.match(name)}


def locked() -> dict[str, str]:
    """Return the version of each package in the file, by name."""
    lines = [line for line in LOCK.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def fresh() -> dict[str, str]:
    """Install what .ci/run installs, without the file, and return the versions that pip chose."""
    torch = re.search(r"torch==[\d.]+", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert torch is not None, ".ci/run installs torch in a line of its own"
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    # A constraints file of whoever runs this is not that of CI.
    environment = {name: value for name, value in os.environ.items() if "CONSTRAINT" not in name}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = Path(folder) / "bin" / "python"
        for wanted in ([torch[0]], build, [".[test,dev,docs,ray]"]):
            subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True, cwd=ROOT, env=environment)
        versions: dict[str, str] = json.loads(subprocess.check_output([python, "-c", _LIST], cwd=ROOT, text=True))
    return versions


def faults(found: dict[str, str], wanted: dict[str, str]) -> list[str]:
    """Say which packages the file lacks, or has in another version."""
    return [
        f"{name} {version} is installed, expected {wanted.get(name, 'it to be in the file')}"
        for name, version in found.items()
        if wanted.get(name) != version
    ]


def main() -> None:
    if sys.argv[1:] == ["--check"]:
        if wrong := faults(installed(), locked()):
            advice = "write it anew with python .ci/lock.py"
            raise SystemExit(
                "\n".join([f"{LOCK.relative_to(ROOT)}: does not have what is installed; {advice}", *wrong])
            )
    elif sys.argv[1:]:
        raise SystemExit(__doc__)
    else:
        lines = [f"{name}=={version}\n" for name, version in fresh().items()]
        LOCK.write_text(HEAD + "".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
