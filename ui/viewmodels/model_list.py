"""The models on this machine, grouped by where they were found."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from PySide6.QtCore import QAbstractListModel, QModelIndex, QObject, QPersistentModelIndex, Qt

from backend.api.schemas import LoadedModel, ModelEntry
from ui.viewmodels.words import model_name, parameter_words, quantization_words, size, source_name

__all__ = ["ModelListModel", "ModelRole", "model_details"]

Index = QModelIndex | QPersistentModelIndex
_NO_PARENT = QModelIndex()
_ORDER = ("builtin", "file", "huggingface", "lmstudio", "ollama", "llamacpp")


class ModelRole(IntEnum):
    """Data roles of the list beside Qt's own."""

    ENTRY = Qt.ItemDataRole.UserRole + 1
    IS_HEADER = Qt.ItemDataRole.UserRole + 2
    DETAILS = Qt.ItemDataRole.UserRole + 3
    LOADED = Qt.ItemDataRole.UserRole + 4
    BROKEN = Qt.ItemDataRole.UserRole + 5


class _Row(NamedTuple):
    header: str
    entry: ModelEntry | None


def model_details(entry: ModelEntry) -> str:
    """The second line under a model's name: why it cannot be used, or size, parameters and quantization."""
    if entry.error is not None:
        return entry.error.what
    parts = [size(entry.bytes), parameter_words(entry.parameters), quantization_words(entry.quantization)]
    return " · ".join(part for part in parts if part)


class ModelListModel(QAbstractListModel):
    """Headings and models as rows of one list; models that cannot be loaded are disabled and say why."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._rows: list[_Row] = []
        self._loaded_id = ""

    def set_models(self, entries: Iterable[ModelEntry]) -> None:
        """Replace them all: usable ones by name first, then the damaged ones, within each source."""
        entries = list(entries)
        rows: list[_Row] = []
        sources = [*_ORDER, *sorted({entry.source for entry in entries} - set(_ORDER))]
        for source in sources:
            found = sorted(
                (entry for entry in entries if entry.source == source),
                key=lambda entry: (entry.error is not None, entry.name.casefold(), entry.bytes),
            )
            if found:
                rows.append(_Row(source_name(source), None))
                rows.extend(_Row("", entry) for entry in found)
        self.beginResetModel()
        self._rows = rows
        self.endResetModel()

    def set_loaded(self, model: LoadedModel | None) -> None:
        """Mark the model that is loaded."""
        self._loaded_id = model.entry.id if model else ""
        if self._rows:
            self.dataChanged.emit(self.index(0), self.index(len(self._rows) - 1))

    def entries(self) -> list[ModelEntry]:
        """The models in the order shown."""
        return [row.entry for row in self._rows if row.entry is not None]

    def row_of(self, model_id: str) -> int:
        """The row of a model, -1 when it is not listed."""
        for position, row in enumerate(self._rows):
            if row.entry is not None and row.entry.id == model_id:
                return position
        return -1

    def rowCount(self, parent: Index = _NO_PARENT) -> int:
        """Headings and models."""
        return 0 if parent.isValid() else len(self._rows)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Name or heading, and the roles of `ModelRole`."""
        if not index.isValid() or not 0 <= index.row() < len(self._rows):
            return None
        header, entry = self._rows[index.row()]
        if role == ModelRole.IS_HEADER:
            return entry is None
        if entry is None:
            return header if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole) else None
        details = model_details(entry)
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return model_name(entry.name)
            case Qt.ItemDataRole.AccessibleTextRole:
                return f"{model_name(entry.name)}, {details}"
            case Qt.ItemDataRole.ToolTipRole:
                return self._tool_tip(entry)
            case ModelRole.ENTRY:
                return entry
            case ModelRole.DETAILS:
                return details
            case ModelRole.LOADED:
                return entry.id == self._loaded_id
            case ModelRole.BROKEN:
                return entry.error is not None
        return None

    def flags(self, index: Index) -> Qt.ItemFlag:
        """Only usable models can be chosen."""
        entry = self._rows[index.row()].entry if index.isValid() else None
        if entry is None or entry.error is not None:
            return Qt.ItemFlag.NoItemFlags
        return Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable

    def _tool_tip(self, entry: ModelEntry) -> str:
        if entry.error is not None:
            error = entry.error
            return "\n".join(part for part in (error.what, error.why, error.remedy, entry.path) if part)
        licence = self.tr("Licence: {0}").format(entry.licence) if entry.licence else ""
        return "\n".join(part for part in (entry.path, licence) if part)
