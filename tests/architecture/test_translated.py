"""Every word that a person may read in the window goes through Qt's translation."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ui

UI = Path(ui.__file__).parent
#: calls of which every text is shown or spoken
SHOWING = {
    "setText", "setToolTip", "setStatusTip", "setPlaceholderText", "setAccessibleName", "setAccessibleDescription",
    "setWindowTitle", "setTitle", "setSpecialValueText", "setSuffix", "setPrefix", "setItemText", "addAction",
    "addItem", "addMenu", "addRadioButton", "text_label", "HoverButton", "IconButton", "QPushButton", "QCheckBox",
    "QRadioButton",
    "QLabel", "ElidedLabel", "set_notice", "set_label", "show_toast", "toast", "announce", "section", "number_row",
    "help_label", "Meter", "ConfirmDialog", "NameDialog", "setHeaderLabels", "Fold",
}  # fmt: skip
#: keyword arguments that are names of things for the program
NAMES = {"icon", "role", "tone", "level", "mode", "shortcut", "objectName", "parent"}
#: second and later arguments of these are such names too; IconButton's first is its picture
FIRST_ONLY = {"text_label": 1, "ElidedLabel": 1, "set_label": 1, "addItem": 1}


def literals(node: ast.expr) -> list[str]:
    """Texts in an expression that no call wraps."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        return [part.value for part in node.values if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    if isinstance(node, ast.IfExp):
        return literals(node.body) + literals(node.orelse)
    if isinstance(node, ast.BinOp):
        return literals(node.left) + literals(node.right)
    if isinstance(node, ast.BoolOp):
        return [text for value in node.values for text in literals(value)]
    return []


def untranslated(source: str) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name not in SHOWING:
            continue
        given = node.args[1:] if name == "IconButton" else node.args[: FIRST_ONLY.get(name, len(node.args))]
        given = [*given, *(word.value for word in node.keywords if word.arg not in NAMES)]
        for argument in given:
            found += [(node.lineno, text) for text in literals(argument) if sum(map(str.isalpha, text)) > 1]
    return found


@pytest.mark.parametrize("path", sorted(UI.rglob("*.py")), ids=lambda path: str(path.relative_to(UI)))
def test_words_are_translated(path: Path) -> None:
    assert not untranslated(path.read_text(encoding="utf-8"))


def test_the_walk_finds_what_it_should() -> None:
    assert untranslated('button.setText("Hello")') == [(1, "Hello")]
    assert untranslated('text_label(f"{n} pieces", "muted")') == [(1, " pieces")]
    assert untranslated('HoverButton("Go" if x else self.tr("Stay"), icon="plus")') == [(1, "Go")]
    assert untranslated('IconButton("close", self.tr("Close"))') == []
    assert untranslated('label.setText(f"{a} · {b}")') == []
