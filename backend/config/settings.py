"""The settings: each declared once, with its type, default, label, help and range.

The file is one JSON object. What this version does not know stays in it; a value that does not fit falls back to its
default with a sentence for the user; a file that cannot be read is set aside. Saving is atomic.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, Literal, NamedTuple, TypeVar, overload

from backend.api.errors import DiskFullError, InvalidRequestError, ReadOnlyError, StorageError

__all__ = ["Declaration", "Settings"]

T = TypeVar("T")
Theme = Literal["system", "light", "dark"]
Kv = Literal["f16", "q8"]
Speedup = Literal["auto", "off", "custom"]
Policy = Literal["stop", "drop_middle", "drop_oldest"]


class Declaration(NamedTuple, Generic[T]):
    """One setting: what a settings page needs to show it, and what a value must be.

    Attributes:
        kind: the type of a value. choices: the values allowed, if they are few, with words for each.
        minimum, maximum: both included. shown: False for what the window remembers by itself.
        secret: True where the value must not be shown or logged.
    """

    name: str
    kind: type[T]
    default: T
    label: str
    help: str
    choices: tuple[tuple[T, str], ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    shown: bool = True
    secret: bool = False

    def check(self, value: object) -> T:
        """The value, in its type. Raises InvalidRequestError with a sentence that says what it must be."""
        if self.kind is float and type(value) is int:
            value = float(value)
        # type() and not isinstance(): true is not the number 1 here
        if type(value) is not self.kind:
            words = {bool: "on or off", int: "a whole number", float: "a number", str: "text"}
            raise self._refused(f"It must be {words.get(self.kind, self.kind.__name__)}.")
        if self.choices and value not in [choice for choice, _ in self.choices]:
            raise self._refused(f"It must be one of {', '.join(str(choice) for choice, _ in self.choices)}.")
        if isinstance(value, int | float) and self.minimum is not None and self.maximum is not None:
            within = self.minimum <= value <= self.maximum  # also False for nan
            if not within:
                raise self._refused(f"It must be from {self.minimum:,g} to {self.maximum:,g}.")
        return value  # type: ignore[return-value]  # kind was compared above

    def _refused(self, why: str) -> InvalidRequestError:
        return InvalidRequestError(
            f"The setting {self.label!r} cannot have this value.", why=why, remedy="Choose another value."
        )


class _Setting(Generic[T]):
    """An attribute of Settings that is one setting."""

    def __init__(self, default: T, label: str, help: str, **rest: Any) -> None:  # noqa: A002
        self._make: Callable[[str], Declaration[T]] = lambda name: Declaration(
            name, type(default), default, label, help, **rest
        )
        self.declaration: Declaration[T]

    def __set_name__(self, owner: type, name: str) -> None:
        self.declaration = self._make(name)

    @overload
    def __get__(self, settings: None, owner: type) -> _Setting[T]: ...
    @overload
    def __get__(self, settings: Settings, owner: type) -> T: ...
    def __get__(self, settings: Settings | None, owner: type) -> _Setting[T] | T:
        if settings is None:
            return self
        value: T = settings.values.get(self.declaration.name, self.declaration.default)
        return value

    def __set__(self, settings: Settings, value: T) -> None:
        settings.values[self.declaration.name] = self.declaration.check(value)


class Settings:
    """What the user chose. Read and set the attributes; `save` writes them.

    Setting a value that does not fit raises InvalidRequestError and changes nothing.

    Attributes:
        path: the file. values: what differs from the defaults. unknown: what this version does not know.
        notices: sentences for the user about what happened at loading.
    """

    theme = _Setting[Theme](
        "system",
        "Appearance",
        "Light, dark, or whatever the system uses.",
        choices=(("system", "As the system"), ("light", "Light"), ("dark", "Dark")),
    )
    high_contrast = _Setting(False, "High contrast", "Black and white, for eyes that need more contrast.")
    reduced_motion = _Setting(False, "No motion", "Nothing slides or fades.")
    wrap_code = _Setting(True, "Wrap code", "Breaks lines of code that are too long; off, they are moved sideways.")
    recent_commands = _Setting("", "Commands", "What was chosen from the list of all commands.", shown=False)
    zoom = _Setting(1.0, "Text size", "1 is the normal size of all text.", minimum=0.5, maximum=3.0)
    last_model = _Setting("", "Model", "The model that is loaded at the start; empty for the built-in one.")
    n_ctx = _Setting(
        0,
        "Context length",
        "How many tokens (word pieces) the model keeps in view; 0 lets Nutshell choose. More needs more memory.",
        minimum=0,
        maximum=16_777_216,
    )
    n_threads = _Setting(
        0,
        "Processor threads",
        "How many threads compute an answer; 0 uses one per processor core.",
        minimum=0,
        maximum=1024,
    )
    kv = _Setting[Kv](
        "f16",
        "Conversation memory",
        "How the model remembers the conversation. Half the size leaves room for a longer one; answers may suffer a "
        "little. For models in Nutshell's own formats.",
        choices=(("f16", "Full"), ("q8", "Half the size")),
    )
    memory_budget = _Setting(
        0,
        "Memory for weights",
        "Megabytes that the weights of a model may take; what does not fit is read from the disk for every word, which "
        "is slower. 0 keeps them all in memory. For models in Nutshell's own formats.",
        minimum=0,
        maximum=16_777_216,
    )
    speculation = _Setting[Speedup](
        "auto",
        "Speed-up",
        "Guesses the next words and checks several at once. The answer stays the same; Automatic does it only where it "
        "is faster.",
        choices=(("auto", "Automatic"), ("off", "Off"), ("custom", "Fixed number of guesses")),
    )
    draft_nodes = _Setting(8, "Guesses", "How many words are guessed at once.", minimum=1, maximum=63, shown=False)
    draft_model = _Setting(
        "", "Draft model", "A small model that guesses for the large one; empty for none.", shown=False
    )
    context_policy = _Setting[Policy](
        "drop_middle",
        "When a conversation gets too long",
        "What leaves the model's view first. Nothing is deleted, and the system prompt always stays.",
        choices=(
            ("drop_middle", "Leave out the middle"),
            ("drop_oldest", "Leave out the oldest messages"),
            ("stop", "Stop and say so"),
        ),
    )
    serve_enabled = _Setting(
        False,
        "Serve other programs",
        "Let other programs on this machine use the model through an OpenAI-like address.",
    )
    serve_port = _Setting(
        9460, "Port", "The port of that address. Choose another if a program uses it.", minimum=1024, maximum=65535
    )
    api_key = _Setting(
        "", "Key", "Programs must send this key. It is needed before other machines may connect.", secret=True
    )
    offline = _Setting(
        False, "Offline", "Nothing leaves this machine: no model is searched for or downloaded until this is off again."
    )
    network_models = _Setting(True, "Models from the hub", "Finding and downloading models, when you ask for one.")
    follow_ups = _Setting(
        False,
        "Suggest what to ask next",
        "After an answer the model writes up to three questions, while nothing else is wanted of it.",
    )
    notify = _Setting(
        True,
        "Notifications",
        "Say when a long answer or job has ended while another program is in front. Never with words of the chat.",
    )
    sidebar_visible = _Setting(True, "Conversations at the side", "Show the list of conversations.", shown=False)
    inspector_visible = _Setting(True, "Inspector at the side", "Show model and sampling controls.", shown=False)
    slider_positions = _Setting("", "Sliders", "Where the sliders of models stood last.", shown=False)
    default_preset = _Setting("", "Preset", "The preset that new chats begin with.", shown=False)
    last_conversation = _Setting("", "Conversation", "The conversation that was open last.", shown=False)
    new_chat_draft = _Setting("", "Draft", "What was typed into a new chat and not sent.", shown=False, secret=True)
    recommending = _Setting("", "Models", "Where the search for a first model was left.", shown=False)
    unsent_files = _Setting("", "Files", "What was attached and not sent.", shown=False, secret=True)
    window_geometry = _Setting("", "Window", "Size and place of the window, as the system gave them.", shown=False)

    def __init__(self, path: Path, content: Mapping[str, object] = MappingProxyType({})) -> None:
        """Settings with `content` over the defaults; `load` reads the file."""
        self.path = path
        self.values: dict[str, Any] = {}
        self.unknown: dict[str, object] = {}
        self.notices: list[str] = []
        for name, value in content.items():
            declaration = self.declarations.get(name)
            if declaration is None:
                self.unknown[name] = value
                continue
            try:
                self.values[name] = declaration.check(value)
            except InvalidRequestError as error:
                self.notices.append(f"{error.what} {error.why} The default is used instead.")

    @classmethod
    def load(cls, path: Path) -> Settings:
        """Read the settings; all defaults where there is no file.

        Never raises: a damaged file is set aside, one that cannot be read is left alone, each with a notice.
        """
        import json  # 6 ms, which a process without settings need not pay

        try:
            content = json.loads(path.read_bytes())
            if not isinstance(content, dict):
                raise ValueError("not an object")
        except FileNotFoundError:
            return cls(path)
        except (ValueError, RecursionError):  # JSON and UTF-8 errors are ValueErrors
            return cls._set_aside(path)
        except OSError:
            if path.is_dir():
                return cls._set_aside(path)
            settings = cls(path)
            settings.notices.append("The settings could not be read, so the defaults are used.")
            return settings
        return cls(path, content)

    @classmethod
    def _set_aside(cls, path: Path) -> Settings:
        settings = cls(path)
        aside = path.with_name(f"{path.stem}.damaged-{time.strftime('%Y-%m-%d-%H%M%S')}{path.suffix}")
        try:
            path.replace(aside)
            kept = f" The damaged file is kept as {aside.name} in {aside.parent}."
        except OSError:
            kept = ""
        settings.notices.append(f"The settings file was damaged, so the defaults are used.{kept}")
        return settings

    @property
    def declarations(self) -> Mapping[str, Declaration[Any]]:
        """Every setting by name, in the order of the settings page."""
        return _DECLARATIONS

    def set(self, name: str, value: object) -> None:
        """Set a value by name. Raises InvalidRequestError for an unknown name or a value that does not fit."""
        declaration = self.declarations.get(name)
        if declaration is None:
            raise InvalidRequestError(f"There is no setting named {name!r}.")
        self.values[name] = declaration.check(value)

    def reset(self, name: str) -> None:
        """Back to the default."""
        self.values.pop(name, None)

    def as_dict(self) -> dict[str, Any]:
        """Every setting with its value."""
        return {name: self.values.get(name, declaration.default) for name, declaration in self.declarations.items()}

    def save(self) -> None:
        """Write the file: either the old or the new content is there at any time, also after a power cut.

        Raises DiskFullError, ReadOnlyError, StorageError.
        """
        import json

        # A value equal to its default is written too: a later change of the default must not change a choice.
        text = json.dumps(self.unknown | self.values, indent=2, ensure_ascii=False) + "\n"
        part = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # 0600: the file may hold a key
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> StorageError:
        import errno

        what = "The settings could not be saved."
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
            return DiskFullError(what, why="The disk is full.", remedy="Free some space, then try again.")
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return ReadOnlyError(
                what,
                why=f"The folder {self.path.parent} or the file in it may only be read.",
                remedy="Allow writing there, or choose another data folder.",
            )
        return StorageError(
            what,
            why=f"The system refused access to {self.path}.",
            remedy="Check that the disk is there and that the folder exists.",
            details=str(error),
        )


_DECLARATIONS: Mapping[str, Declaration[Any]] = MappingProxyType(
    {name: setting.declaration for name, setting in vars(Settings).items() if isinstance(setting, _Setting)}
)
