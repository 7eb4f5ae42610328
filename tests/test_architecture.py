"""The floors: every module imports only from its own floor or from those below."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCIENCE = {
    "_torchvision",
    "augment",
    "bootstrap",
    "calibrate",
    "checkpoint",
    "evaluate",
    "gate",
    "hardware",
    "model",
    "recipe",
    "reliance",
    "scoring",
    "shortcuts",
    "train",
}
GROUND = {"config", "layers", "errors", "files", "data"}
ORCHESTRATORS = {"prefect", "airflow"}


def floor(module: str) -> int | None:
    """Return the floor of a module of this project, None for one of a library."""
    top, _, rest = module.partition(".")
    room = rest.partition(".")[0]
    if top in ("flows", "deployments"):
        return 4
    if top == "tasks":
        return 3
    if top != "pneumonia" or not room:
        return None
    return 0 if room in GROUND else 1 if room in SCIENCE else 2


def imports(path: Path) -> set[str]:
    """Return the absolute names of everything that a file imports, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


FILES = sorted(path for top in ("pneumonia", "tasks", "flows") for path in (ROOT / top).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_downward(path: Path) -> None:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    own = floor(name.removesuffix(".__init__"))
    if own is None:
        own = 0  # pneumonia/__init__.py lies below everything
    for imported in imports(path):
        other = floor(imported)
        assert other is None or other <= own, f"{name} (floor {own}) imports {imported} (floor {other})"
        if own < 4:
            assert imported.partition(".")[0] not in ORCHESTRATORS, f"{name} knows an orchestrator: {imported}"


@pytest.mark.parametrize("path", [path for path in FILES if "data" in path.parts], ids=lambda path: path.name)
def test_data_floor_needs_no_torch(path: Path) -> None:
    assert not {name.partition(".")[0] for name in imports(path)} & {"torch", "sklearn", "mlflow", "matplotlib"}


def test_nothing_loads_pickle() -> None:
    for path in FILES:
        assert not {"pickle", "joblib", "cloudpickle", "dill"} & {name.partition(".")[0] for name in imports(path)}
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert "weights_only=True" in ast.unparse(node), f"{path}: torch.load without weights_only"
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "numpy.load"):
                assert "allow_pickle=True" not in ast.unparse(node)
