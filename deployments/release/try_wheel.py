"""Install a wheel into an empty environment and use it: its version, the phantoms, their audit, a run of the pipeline.

try_wheel.py dist/pneumonia-0.2.0-py3-none-any.whl               the libraries are installed from requirements.lock
try_wheel.py WHEEL --libraries .venv/lib/python3.11/site-packages --quick

With --libraries nothing is downloaded: the environment has the wheel, and the libraries of another one. What that
cannot show is whether an installer resolves them. Without --quick the Prefect flow trains on phantoms, with the wheel's
steps. Needs uv on PATH or beside this Python. PIP_FIND_LINKS names a folder with torch's CPU build, where its index is
out of reach.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PHANTOMS = ("--train", "24", "--test", "12", "--set", "phantom.size=64")
FOLDER = "images/chest_xray"


class Failed(Exception):
    """A command of the installed wheel has not done what it should."""


class Installed:
    """A new environment with a wheel, in a folder that holds nothing else of this project."""

    def __init__(self, folder: Path, wheel: Path, libraries: Path | None) -> None:
        """Make the environment.

        Args:
            folder: an empty one.
            wheel: to install.
            libraries: of another environment, which are used as they are; None: install those of the lock.

        Raises:
            Failed: an installer has failed.
        """
        self.folder = folder
        self._bin = folder / "environment/bin"
        self._variables = {name: os.environ[name] for name in ("PATH", "OMP_NUM_THREADS") if name in os.environ}
        self._variables |= {"HOME": str(folder), "PREFECT_HOME": str(folder / "prefect"), "NO_COLOR": "1"}
        venv.create(folder / "environment", with_pip=False, symlinks=True)
        if libraries is None:
            self._install_locked()
        else:
            own = next((folder / "environment/lib").glob("python3*/site-packages"))
            # after the environment's own folder, so that the wheel's package comes first
            (own / "libraries.pth").write_text(f"{libraries.resolve()}\n", encoding="utf-8")
        self._uv("--no-deps", "--offline", str(wheel.resolve()))

    def run(self, program: str, *arguments: str) -> str:
        """Run a program of the environment in its folder, and return what it prints.

        Raises:
            Failed: it ended with another code than 0.
        """
        return self._call([str(self._bin / program), *arguments], self._variables)

    def _install_locked(self) -> None:
        links = os.environ.get("PIP_FIND_LINKS")
        source = ["--find-links", links] if links else ["--torch-backend", "cpu"]
        self._uv("--no-deps", *source, "--requirement", str(ROOT / "deployments/library/torch.txt"))
        self._uv("--no-deps", "--require-hashes", "--requirement", str(ROOT / "requirements.lock"))

    def _uv(self, *arguments: str) -> None:
        beside = Path(sys.executable).with_name("uv")
        uv = str(beside) if beside.exists() else "uv"
        command = [uv, "--no-config", "pip", "install", "--quiet", "--python", str(self._bin / "python")]
        self._call([*command, *arguments], dict(os.environ))

    def _call(self, command: list[str], variables: dict[str, str]) -> str:
        done = subprocess.run(command, cwd=self.folder, env=variables, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout


def use(installed: Installed, version: str, quick: bool) -> None:
    """Use the wheel as a person would who has no checkout.

    Raises:
        Failed: the version is another, the package is not the wheel's, or a command fails.
    """
    printed = installed.run("pneumonia", "--version").strip()
    if printed != version:
        raise Failed(f"pneumonia --version prints {printed}, and the wheel is {version}")
    code = "import pneumonia, tasks; print(pneumonia.__file__, tasks.__file__)"
    for place in installed.run("python", "-c", code).split():
        if not Path(place).is_relative_to(installed.folder):
            raise Failed(f"{place}: is imported, and not what the wheel has installed")
    installed.run("pneumonia", "data", "phantom", "images", *PHANTOMS)
    drawn = sum(1 for _ in (installed.folder / FOLDER).rglob("*.jpeg"))
    print(f"pneumonia {printed}: drew {drawn} phantoms")
    installed.run("pneumonia", "data", "audit", FOLDER)
    print("audited them")
    if not quick:
        shutil.copytree(ROOT / "flows", installed.folder / "flows", ignore=shutil.ignore_patterns("__pycache__"))
        print(installed.run("python", "flows/pipeline.py", "--data", "phantom"), end="")


def main() -> int:
    """Try a wheel."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--libraries", type=Path, metavar="SITE_PACKAGES")
    parser.add_argument("--quick", action="store_true", help="train nothing")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wheel-") as folder:
        try:
            installed = Installed(Path(folder).resolve(), chosen.wheel, chosen.libraries)
            use(installed, chosen.wheel.name.split("-")[1], chosen.quick)
        except Failed as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
