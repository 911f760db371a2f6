import logging

import pytest

from backend.config import logging as ours
from backend.config.logging import configure, private, redact


@pytest.fixture(autouse=True)
def restore_logging():
    root = logging.getLogger()
    handlers, level, raising = list(root.handlers), root.level, logging.raiseExceptions
    yield
    for handler in list(root.handlers):
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()
    root.setLevel(level)
    logging.raiseExceptions = raising
    logging.captureWarnings(False)


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer SECRETSECRET",
        "{'authorization': 'Bearer SECRETSECRET'}",
        "authorization=bearer SECRETSECRET",
        "Basic SECRETSECRET==",
        "api_key=SECRETSECRET",
        '{"api_key": "SECRETSECRET"}',
        "X-Api-Key: SECRETSECRET",
        "GET /events?token=SECRETSECRET&x=1",
        "--api-key SECRETSECRET",
        "HF_TOKEN=SECRETSECRET",
        "using sk-SECRETSECRET",
        "sent hf_SECRETSECRET to the mirror",
        "proxy http://user:SECRETSECRET@proxy:8080",
    ],
)
def test_secrets_are_hidden(text):
    hidden = redact(text)
    assert "SECRETSECRET" not in hidden
    assert "[hidden]" in hidden


@pytest.mark.parametrize("text", ["1,240 tokens in 2.1 s", "no token given", "token_count=12", "loaded model.gguf"])
def test_plain_text_stays(text):
    assert redact(text) == text


def test_private_text_is_its_length():
    assert private("my diary") == "[8 characters]"


def test_the_file_holds_lines_and_tracebacks_without_secrets(tmp_path):
    path = configure(tmp_path / "logs", "engine", secrets=("exactly-this",))
    assert path == tmp_path / "logs" / "engine.log"
    try:
        raise ValueError("Bearer abcdefghij and exactly-this")
    except ValueError:
        logging.getLogger("nutshell.test").exception("failed with api_key=%s", "abcdefghij")
    logging.getLogger("nutshell.test").debug("not at this level")
    text = path.read_text("utf-8")
    assert "failed with api_key=[hidden]" in text
    assert "ValueError" in text
    assert "abcdefghij" not in text
    assert "exactly-this" not in text
    assert "not at this level" not in text


def test_files_are_rotated_and_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(ours, "_BYTES_PER_FILE", 2000)
    configure(tmp_path, "engine")
    for number in range(300):
        logging.getLogger("nutshell.test").info("line %d", number)
    files = sorted(tmp_path.glob("engine.log*"))
    assert len(files) == 4
    assert all(file.stat().st_size <= 2000 for file in files)


def test_configuring_again_replaces_the_first(tmp_path):
    configure(tmp_path, "one")
    configure(tmp_path, "two")
    logging.getLogger("nutshell.test").info("hello")
    assert (tmp_path / "one.log").read_text() == ""
    assert "hello" in (tmp_path / "two.log").read_text()


def test_a_place_that_cannot_be_written_falls_back_to_stderr(tmp_path, capfd):
    (tmp_path / "logs").write_text("a file where the folder should be")
    assert configure(tmp_path / "logs", "engine") is None
    logging.getLogger("nutshell.test").info("still heard")
    assert "still heard" in capfd.readouterr().err


def test_addresses_that_are_asked_are_not_logged(tmp_path):
    path = configure(tmp_path, "engine")
    assert path is not None
    for name in ("httpx", "httpx2", "httpcore2.connection"):
        logging.getLogger(name).info("HTTP Request: GET https://cdn.example/f?Signature=abcdef")
    assert "abcdef" not in path.read_text(encoding="utf-8")
