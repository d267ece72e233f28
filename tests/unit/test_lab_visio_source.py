"""Checkouts of several releases of Visio: which one each image runs, and which are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from visio_lab.context import REAL_IMAGES, LabContext
from visio_lab.errors import LabError
from visio_lab.programs import image_files, program
from visio_lab.visio_source import PAGES, checkouts

REAL = LabContext(
    directory=Path("/lab"),
    bin=Path("/lab/bin"),
    inner_kubeconfig=Path("/lab/kubeconfig.inner"),
    logs=Path("/lab/logs"),
    python="python",
    real_images=REAL_IMAGES,
)
HOMES = {"1.9.0": Path("/nine"), "1.26.0": Path("/old"), "1.27.0": Path("/new")}
TWO = replace(REAL, visio_homes=HOMES)


def a_checkout(folder: Path, version: str | None) -> Path:
    backend = folder / "src" / "backend"
    backend.mkdir(parents=True)
    (backend / "manage.py").touch()
    (backend / "pyproject.toml").write_text("[project]\n" + (f'version = "{version}"\n' if version else ""))
    return folder


@pytest.mark.parametrize(
    ("tag", "home"),
    [
        (":v1.27.0", "/new"),
        (":v1.26.0", "/old"),
        (":1.26.0", "/old"),
        (f":v1.26.0@sha256:{'0' * 64}", "/old"),
        (":v1.26.1", "/old"),
        (":v1.25.0", "/nine"),
        (":v1.8.0", "/nine"),
        (":v1.28.0", "/new"),
        (":main", "/new"),
        ("", "/new"),
        (f"@sha256:{'0' * 64}", "/new"),
    ],
)
def test_the_tag_of_an_image_says_which_release_runs(tag: str, home: str) -> None:
    argv = program(f"registry.example:5000/lasuite/meet-backend{tag}", ["python", "manage.py"], ["check"], TWO)
    assert f"{home}/backend" in argv
    assert image_files(f"registry.example:5000/lasuite/meet-frontend{tag}", TWO) == {
        PAGES: Path(home, "frontend", "dist")
    }


@pytest.mark.parametrize("tag", ["v1.1.0", "v1.27.0", "v1.40.0", "main"])
def test_the_only_checkout_runs_whatever_the_tag(tag: str) -> None:
    one = replace(REAL, visio_homes={"1.26.0": Path("/only")})
    assert "/only/summary" in program(f"lasuite/meet-summary:{tag}", ["celery"], [], one)


def test_the_pages_are_served_from_where_the_image_has_them() -> None:
    words = ["nginx", "-g", "daemon off;"]
    assert program("lasuite/meet-frontend:v1.26.0", words, [], TWO)[-2:] == ["--pages", PAGES]
    assert image_files("lasuite/meet-backend:v1.26.0", TWO) == {}
    assert image_files("lasuite/meet-frontend:v1.26.0", REAL) == {}


def test_each_checkout_says_itself_which_release_it_holds(tmp_path: Path) -> None:
    new, old = a_checkout(tmp_path / "a", "1.27.0"), a_checkout(tmp_path / "b", "1.9.0")
    assert list(checkouts([new, old]).items()) == [("1.9.0", old), ("1.27.0", new)]
    assert checkouts([]) == {}


def test_two_checkouts_of_one_release_are_refused(tmp_path: Path) -> None:
    first, second = a_checkout(tmp_path / "a", "1.27.0"), a_checkout(tmp_path / "b", "1.27.0")
    with pytest.raises(LabError) as caught:
        checkouts([first, second])
    assert str(caught.value) == f"--visio-source {first} and {second}: both hold Visio 1.27.0: name one of them"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("version", [None, "main", "1.27"])
def test_a_checkout_of_no_release_is_refused(version: str | None, tmp_path: Path) -> None:
    with pytest.raises(LabError, match=f"names no release but {version}: name that of a tag"):
        checkouts([a_checkout(tmp_path / "a", version)])


def test_a_folder_that_is_no_checkout_is_refused_among_others(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="not a checkout of Visio"):
        checkouts([a_checkout(tmp_path / "a", "1.27.0"), tmp_path / "b"])
