# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by the GNU General Public License,
# version 3 or later, that can be found in the LICENSE file.

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lsst.daf.butler import Butler, CollectionType
from lsst.meas.trails.repository.butler import open_or_create
from lsst.meas.trails.repository.opening import find_collections, locate, open_butler
from lsst.meas.trails.repository.visit_record import RepositoryError
from lsst.resources import ResourcePath


@pytest.fixture(scope="module")
def butler(tmp_path_factory: pytest.TempPathFactory) -> Butler:
    butler = open_or_create(tmp_path_factory.mktemp("opening") / "repo")
    for name in ("input", "u/me/a", "u/me/a/1", "u/me/b"):
        butler.collections.register(name)
    butler.collections.register("u/me/calib", CollectionType.CALIBRATION)
    return butler


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("input", ["input"]),
        ("u/me/b,input", ["u/me/b", "input"]),
        (" u/me/b , input, ", ["u/me/b", "input"]),
        ("u/me/*", ["u/me/a", "u/me/a/1", "u/me/b"]),
        ("u/me/b,u/me/?", ["u/me/b", "u/me/a"]),
        ("u/me/[ab]", ["u/me/a", "u/me/b"]),
        ("*", ["input", "u/me/a", "u/me/a/1", "u/me/b"]),
        ("u/me/calib", ["u/me/calib"]),
    ],
)
def test_collections(butler: Butler, expression: str, found: list[str]) -> None:
    assert find_collections(butler, expression) == found


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("u/you/*", r"matches 'u/you/\*'"),
        ("input,u/me/c", "'u/me/c'; is it 'u/me/"),
        ("...", r"'\.\.\.'"),
        (",", "no collection"),
        ("", "no collection"),
    ],
)
def test_collections_that_do_not_exist(butler: Butler, expression: str, message: str) -> None:
    with pytest.raises(RepositoryError, match=message):
        find_collections(butler, expression)


@pytest.mark.parametrize("name", ["a b", "a+b&c=d", "100%", "a[1]", "\u00e9", "a.b"])
def test_unusual_folders(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    open_or_create(str(tmp_path / name)).close()
    assert (tmp_path / name / "gen3.sqlite3").exists()
    monkeypatch.chdir(tmp_path)
    for repo in (name, f"{name}/", tmp_path / name, f"{tmp_path / name}/butler.yaml"):
        with open_butler(repo) as butler:
            assert not butler.collections.query("*")
    with open_or_create(name), open_butler(ResourcePath(str(tmp_path / name), forceDirectory=True)):
        assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize(
    ("name", "part"),
    [(b"a%20b", "'%20'"), (b"a?b", "'\\?'"), (b"a#b", "'#'"), (b"n\xfcw/repo", "not UTF-8")],
)
def test_folders_that_the_butler_cannot_use(tmp_path: Path, name: bytes, part: str) -> None:
    """The Butler would put the database elsewhere; a link gives it another name."""
    path = os.path.join(str(tmp_path), os.fsdecode(name))
    for opened in (open_butler, open_or_create):
        with pytest.raises(RepositoryError, match=part) as caught:
            opened(path)
        assert str(caught.value).isprintable()
        str(caught.value).encode()
    assert os.listdir(tmp_path) == []
    open_or_create(tmp_path / "repo").close()
    os.renames(tmp_path / "repo", path)
    (tmp_path / "link").symlink_to(path)
    if "UTF" in part:
        with pytest.raises(RepositoryError, match=part):
            open_butler(tmp_path / "link")
        return
    with open_butler(tmp_path / "link") as butler, open_or_create(tmp_path / "link"):
        assert not butler.collections.query("*")


@pytest.mark.parametrize(
    "repo", ["https://localhost:1/repo", "s3://bucket/repo", "ftp://host/repo", "nowhere", "file:///nowhere"]
)
def test_stores_that_do_not_answer(repo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("S3_ENDPOINT_URL", "http://localhost:1")
    # Retries take long.
    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda self, response=None: None)
    with pytest.raises(RepositoryError) as caught:
        open_butler(repo)
    assert repo in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"junk " * 1000])
def test_damaged_databases(tmp_path: Path, content: bytes) -> None:
    """The message has the way out and no SQL, also if the repository is opened for writing."""
    open_or_create(tmp_path / "repo").close()
    (tmp_path / "repo" / "gen3.sqlite3").write_bytes(content)
    for function in (open_butler, open_or_create):
        with pytest.raises(RepositoryError, match="database is missing or damaged: restore it") as caught:
            function(tmp_path / "repo")
        assert "SQL:" not in str(caught.value)
    (tmp_path / "repo" / "butler.yaml").write_text("a: [")
    with pytest.raises(RepositoryError, match="configuration is damaged: restore it"):
        open_or_create(tmp_path / "repo")


def test_damaged_repositories(tmp_path: Path) -> None:
    for name, damage in {
        "database": lambda folder: (folder / "gen3.sqlite3").unlink(),
        "configuration": lambda folder: (folder / "butler.yaml").write_text("a: ["),
        "server": lambda folder: (folder / "butler.yaml").write_text(
            (folder / "butler.yaml")
            .read_text()
            .replace("sqlite:///<butlerRoot>/gen3.sqlite3", "oracle://h/d")
        ),
    }.items():
        open_or_create(tmp_path / name).close()
        damage(tmp_path / name)
        with pytest.raises(RepositoryError, match=name):
            open_butler(tmp_path / name)
    (tmp_path / "image.fits").write_text("no repository")
    with pytest.raises(RepositoryError, match=r"image\.fits"):
        open_butler(tmp_path / "image.fits")


def test_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_or_create(tmp_path / "repo").close()
    index = tmp_path / "index.yaml"
    index.write_text(f"main: {tmp_path / 'repo'}\n")
    monkeypatch.setenv("DAF_BUTLER_REPOSITORY_INDEX", str(index))
    assert locate("main") == "main"
    with open_butler("main") as butler:
        assert not butler.collections.query("*")
    with pytest.raises(RepositoryError, match="known labels are main"):
        open_butler("mian")
