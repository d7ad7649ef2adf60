"""Where an embedded server's files are, and what its URL looks like."""

import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from message_service.embedded.layout import MAX_SOCKET_PATH_BYTES, Layout


def test_sockets_are_in_the_data_folder_when_the_path_is_short() -> None:
    layout = Layout.of(Path("/short"))
    assert layout.mongod_socket == Path("/short/run/mongod.sock")


@pytest.mark.parametrize(
    "folder",
    ["/" + "x" * 90, "/" + "ж" * 45, "/with, a comma"],
    ids=["long in characters", "long in bytes", "comma"],
)
def test_sockets_are_elsewhere_when_they_cannot_be_there(folder: str) -> None:
    layout = Layout.of(Path(folder))
    assert layout.sockets_dir.parent == Path(tempfile.gettempdir())
    assert len(bytes(layout.mongod_socket)) <= MAX_SOCKET_PATH_BYTES


def test_sockets_of_two_folders_differ_when_both_are_elsewhere() -> None:
    first, second = (Layout.of(Path("/" + letter * 90)) for letter in "xy")
    assert first.sockets_dir != second.sockets_dir


def test_layout_is_the_same_when_the_path_is_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Layout.of(Path("data")) == Layout.of(tmp_path / "data")


def test_urls_keep_their_meaning_when_the_path_has_special_characters(tmp_path: Path) -> None:
    layout = Layout.of(Path("/a b%2?#@"))
    host = layout.mongodb_url.removeprefix("mongodb://").removesuffix("/?directConnection=true")
    assert unquote(host) == str(layout.mongod_socket)
    assert "/" not in host

    here = Layout(tmp_path)
    here.redis_password.write_text("secret\n")
    url = urlsplit(here.redis_url())
    assert (url.password, unquote(url.path), url.query) == ("secret", str(here.redis_socket), "db=0")


def test_nothing_is_made_when_only_asked_where_things_are(tmp_path: Path) -> None:
    assert not Layout.of(tmp_path / "data").mongod_dir.exists()
    assert list(tmp_path.iterdir()) == []
