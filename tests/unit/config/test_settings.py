import errno
import json
import os
import stat
from pathlib import Path

import pytest

from backend.api.errors import DiskFullError, InvalidRequestError, ReadOnlyError
from backend.config.settings import Settings


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "data" / "settings.json"


def test_defaults_without_a_file(path):
    settings = Settings.load(path)
    assert settings.theme == "system"
    assert settings.serve_port == 9460
    assert settings.sidebar_visible is True
    assert settings.notices == []
    assert not path.exists()


def test_every_setting_is_declared_with_words_and_a_default_that_fits():
    declarations = Settings(Path("x")).declarations
    assert set(declarations) >= {
        "theme", "last_model", "n_ctx", "n_threads", "context_policy", "serve_enabled", "serve_port", "api_key",
        "sidebar_visible", "inspector_visible", "window_geometry", "zoom",
    }  # fmt: skip
    for declaration in declarations.values():
        assert declaration.check(declaration.default) == declaration.default
        assert declaration.label
        assert declaration.help.endswith(".")
        assert "!" not in declaration.help
    assert declarations["api_key"].secret


def test_what_is_saved_is_loaded(path):
    settings = Settings.load(path)
    settings.theme = "dark"
    settings.zoom = 1.25
    settings.window_geometry = "Größe"
    settings.save()
    again = Settings.load(path)
    assert (again.theme, again.zoom, again.window_geometry) == ("dark", 1.25, "Größe")
    assert again.as_dict() == settings.as_dict()


def test_a_choice_equal_to_the_default_is_kept_as_a_choice(path):
    settings = Settings.load(path)
    settings.theme = "system"
    settings.save()
    assert json.loads(path.read_text())["theme"] == "system"
    assert "zoom" not in json.loads(path.read_text())


def test_reset_forgets_a_choice(path):
    settings = Settings.load(path)
    settings.set("n_ctx", 4096)
    settings.reset("n_ctx")
    settings.save()
    assert json.loads(path.read_text()) == {}


def test_unknown_keys_survive(path):
    path.parent.mkdir()
    path.write_text('{"from_the_future": {"a": [1, 2]}, "theme": "light"}')
    settings = Settings.load(path)
    settings.theme = "dark"
    settings.save()
    assert json.loads(path.read_text()) == {"from_the_future": {"a": [1, 2]}, "theme": "dark"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("theme", "pink"),
        ("theme", None),
        ("serve_port", 80),
        ("serve_port", "9460"),
        ("serve_port", True),
        ("serve_enabled", 1),
        ("zoom", float("nan")),
        ("zoom", 100),
        ("n_ctx", -1),
        ("api_key", ["x"]),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_a_sentence_and_falls_back_at_loading(path, name, value):
    settings = Settings.load(path)
    default = getattr(settings, name)
    with pytest.raises(InvalidRequestError) as caught:
        settings.set(name, value)
    assert caught.value.why
    with pytest.raises(InvalidRequestError):
        setattr(settings, name, value)
    assert getattr(settings, name) == default
    path.parent.mkdir()
    path.write_text(json.dumps({name: value}))
    loaded = Settings.load(path)
    assert getattr(loaded, name) == default
    assert len(loaded.notices) == 1
    assert settings.declarations[name].label in loaded.notices[0]


def test_a_whole_number_is_a_number(path):
    settings = Settings.load(path)
    settings.set("zoom", 2)
    assert settings.zoom == 2.0


def test_an_unknown_name_is_refused(path):
    with pytest.raises(InvalidRequestError):
        Settings.load(path).set("no_such_setting", 1)


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe\x00", b"[1]", b"[" * 100_000, b"\0" * 500])
def test_a_damaged_file_is_set_aside_with_a_notice(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    settings = Settings.load(path)
    assert settings.theme == "system"
    (aside,) = path.parent.glob("settings.damaged-*.json")
    assert aside.read_bytes() == content
    assert len(settings.notices) == 1
    assert aside.name in settings.notices[0]
    settings.save()
    assert Settings.load(path).notices == []


def test_a_folder_in_the_place_of_the_file_is_set_aside(path):
    path.mkdir(parents=True)
    settings = Settings.load(path)
    assert len(settings.notices) == 1
    settings.save()
    assert path.is_file()


def test_saving_replaces_the_file_in_one_step_and_leaves_the_old_one_when_it_fails(path, monkeypatch):
    settings = Settings.load(path)
    settings.theme = "light"
    settings.save()
    before = path.read_bytes()
    settings.theme = "dark"

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError):
        settings.save()
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_gives_a_sentence(path, monkeypatch):
    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    settings = Settings.load(path)
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ReadOnlyError) as caught:
        settings.save()
    assert caught.value.remedy


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps a user's folder private in another way")
def test_only_the_user_may_read_the_file(path):
    settings = Settings.load(path)
    settings.api_key = "a key"
    settings.save()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
