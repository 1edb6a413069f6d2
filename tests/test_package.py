"""What is installed: the built wheel and the archive of the sources, by their lists of files."""

import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The names in the wheel and in the sdist, without their first folder."""
    pytest.importorskip("hatchling")
    from hatchling.builders.sdist import SdistBuilder
    from hatchling.builders.wheel import WheelBuilder

    folder = str(tmp_path_factory.mktemp("built"))
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=folder, versions=["standard"])
    (sources,) = SdistBuilder(str(ROOT)).build(directory=folder, versions=["standard"])
    with zipfile.ZipFile(wheel) as archive, tarfile.open(sources) as other:
        names = {name.split("/", 1)[1] for name in other.getnames()}
        return {"wheel": set(archive.namelist()), "sdist": names}


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_everything_that_the_package_reads_is_in_it(kind, built):
    package = (p for p in (ROOT / "tinygrad_rnn").rglob("*") if p.is_file())
    files = {p.relative_to(ROOT).as_posix() for p in package if p.parent.name != "__pycache__"}
    assert "tinygrad_rnn/py.typed" in files  # type checkers read the annotations
    inside = {name for name in built[kind] if name.startswith("tinygrad_rnn/")}
    assert {name for name in inside if ".pyc" not in name} == files


def test_the_sdist_is_the_project_without_what_builds_it(built):
    assert {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml"} <= built["sdist"]
    assert not [name for name in built["sdist"] if name.startswith((".ci", ".venv", ".git/"))]
    assert not [name for name in built["wheel"] if name.startswith(("tests", "docs", "."))]
