"""What is installed is what is in the tree: setup.cfg maps every source folder, and the wheel carries it whole."""

import configparser
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NO_SOURCES = {"benchmarks", "build", "dist", "docs", "examples", "tests"}


def source_folders() -> list[Path]:
    """The top-level folders that install as telestage.<folder>."""
    return sorted(
        folder
        for folder in ROOT.iterdir()
        if folder.is_dir()
        and folder.name.isidentifier()
        and folder.name not in NO_SOURCES
        and any(folder.rglob("*.py"))
    )


def source_files() -> set[str]:
    """Every file that must be installed, as its path in the wheel."""
    return {
        f"telestage/{path.relative_to(ROOT).as_posix()}"
        for folder in source_folders()
        for path in (*folder.rglob("*.py"), folder / "py.typed")
    }


def packages() -> list[str]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config["options"]["packages"].split()


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, by way of the sdist; built from a copy, where nothing stale lies about."""
    copy = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for folder in source_folders():
        shutil.copytree(folder, copy / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    # Without isolation: an isolated build fetches setuptools anew each time.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", copy / "dist", copy)
    [built] = (copy / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed into it and nothing else."""
    target = tmp_path_factory.mktemp("site")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install")
    run(*pip, "--no-deps", "--no-index", "--no-compile", "--target", target, wheel)
    return target


def run_installed(site: Path, program: str) -> str:
    """Run a program where telestage comes from `site`, and only its dependencies from our environment."""
    # -S leaves .pth files alone, and with them the editable install that these tests run from.
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    paths = [str(site), *libraries]
    return run(sys.executable, "-I", "-S", "-c", f"import sys; sys.path.extend({paths!r})\n{program}")


def test_setup_cfg_maps_every_source_folder() -> None:
    found = {
        "telestage." + ".".join(path.parent.relative_to(ROOT).parts)
        for folder in source_folders()
        for path in folder.rglob("*.py")
    }
    assert set(packages()) == found


def test_every_source_folder_is_a_package() -> None:
    """A folder without __init__.py works in the tree and is lost in tools that look for packages."""
    assert [name for name in packages() if not (ROOT.joinpath(*name.split(".")[1:]) / "__init__.py").is_file()] == []


@pytest.mark.parametrize("folder", [folder.name for folder in source_folders()])
def test_every_top_level_package_says_it_is_typed(folder: str) -> None:
    assert (ROOT / folder / "py.typed").is_file()


def test_mypy_and_pyright_are_given_every_source_folder() -> None:
    """Both say that all is well where they find no file."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    names = [folder.name for folder in source_folders()]
    assert sorted(tools["mypy"]["packages"]) == [f"telestage.{name}" for name in names]
    assert sorted(tools["pyright"]["include"]) == [f"build/typed/telestage/{name}" for name in names]


def test_the_wheel_has_every_source_file_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == source_files()


def test_the_namespace_stays_open(wheel: Path) -> None:
    """Another distribution may add to telestage.*: it must have no __init__.py of its own (PEP 420)."""
    with zipfile.ZipFile(wheel) as archive:
        assert "telestage/__init__.py" not in archive.namelist()


def test_every_package_imports_from_the_installed_wheel(site: Path) -> None:
    program = f"import importlib\nfor name in {packages()!r}:\n    print(importlib.import_module(name).__file__)"
    origins = run_installed(site, program).splitlines()
    assert origins == [str(site.joinpath(*name.split("."), "__init__.py")) for name in packages()]


def test_every_entry_point_of_the_installed_wheel_loads(site: Path) -> None:
    """The telestage command and the pytest plugin: declared by name, so a typo shows only when used."""
    program = (
        "from importlib.metadata import distribution\n"
        "for point in distribution('telestage').entry_points: print(point.group, point.name, point.load().__name__)"
    )
    assert run_installed(site, program).split("\n")[:-1] == [
        "console_scripts telestage main",
        "pytest11 telestage telestage.testing.plugin",
    ]
