"""What every command of the window does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QFileDialog

from backend.api.schemas import Conversation, NewPreset, Preset
from backend.api.thinking import without_thought
from ui.palette.command_palette import CommandPalette
from ui.palette.entries import Entry, chat_entries, command_entries, find, model_entries, preset_entries
from ui.palette.shortcuts import ShortcutsDialog
from ui.presets.page import PresetsPage
from ui.theme import Mode, apply_theme, metrics
from ui.viewmodels.conversation_list import Place

if TYPE_CHECKING:
    from ui.main_window import MainWindow

__all__ = ["Commands"]

#: Commands that the palette remembers as used lately.
_RECENT = 5
_ZOOM_STEPS = (0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 1.75, 2.0)


class Commands:
    """The functions behind `ui.actions.command_table`, for one window."""

    def __init__(self, window: MainWindow) -> None:
        self._window = window
        self._palette: CommandPalette | None = None
        self._presets: PresetsPage | None = None

    # Conversations

    def new_chat(self) -> None:
        """Show an empty chat."""
        window = self._window
        window.inspector.flush()
        window.chat.new_chat()
        default = window.presets.get(str(window.setting("default_preset") or ""))
        if default is not None:
            self._begin_with(default)
        window.show_chat()

    def show_presets(self) -> None:
        """Show the page of presets, or the chat again."""
        window = self._window
        if self._presets is None:
            default = str(window.setting("default_preset") or "")
            page = self._presets = PresetsPage(window.presets, window.models, default)
            page.start_requested.connect(self.start_preset)
            page.default_chosen.connect(lambda preset_id: window.keep(default_preset=preset_id))
            page.close_requested.connect(window.show_chat)
        if window.pages.currentWidget() is self._presets:
            window.presets.flush()
            window.show_chat()
        else:
            window.show_page(self._presets)

    def start_preset(self, preset_id: str) -> None:
        """A new chat with a preset, and with its model where it has one that is here."""
        window = self._window
        window.presets.flush()
        preset = window.presets.get(preset_id)
        if preset is None:
            return
        window.inspector.flush()
        window.chat.new_chat()
        self._begin_with(preset)
        entry = next((one for one in window.models.list.entries() if one.id == preset.model), None)
        loaded = window.models.loaded
        if entry is not None and entry.error is None and (loaded is None or loaded.entry.id != entry.id):
            window.models.load(entry)
        window.show_chat()

    def _begin_with(self, preset: Preset) -> None:
        draft = self._window.chat.draft
        draft.preset_id, draft.system_prompt, draft.sampling = preset.id, preset.system_prompt, preset.sampling
        self._window.inspector.refresh()

    def save_as_preset(self) -> None:
        """Make a preset of how the open chat is answered, and show it."""
        window = self._window
        window.inspector.flush()
        conversation, loaded = window.chat.conversation, window.models.loaded
        window.presets.create(
            NewPreset(
                name=conversation.title or window.tr("New preset"),
                system_prompt=conversation.system_prompt,
                sampling=conversation.sampling,
                model=loaded.entry.id if loaded else "",
            )
        )
        if self._presets is None or window.pages.currentWidget() is not self._presets:
            self.show_presets()

    def rename_conversation(self) -> None:
        """Edit the title, in the list if it is shown there, else over the chat."""
        window = self._window
        if not (window.panes.shown("left") and window.sidebar.rename(window.sidebar.selected())):
            window.top_bar.title.edit()

    def delete_conversation(self) -> None:
        """Put the conversation into the trash."""
        if self._window.chat.list.place == "trash" and self._window.sidebar.list.hasFocus():
            return  # it is there already
        for conversation_id in self._window.sidebar.selection():
            self._window.chat.delete(conversation_id)

    def export_conversation(self) -> None:
        """Ask for a file for what is chosen in the list, or for the open conversation."""
        chosen = self._window.sidebar.selection()
        if chosen:
            self._window.exchange.ask_export(chosen, "markdown")

    def import_conversations(self) -> None:
        """Ask for a file of conversations and take it in."""
        self._window.exchange.ask_import()

    def next_conversation(self) -> None:
        """Show the next one in the list."""
        self._step(1)

    def previous_conversation(self) -> None:
        """Show the one before in the list."""
        self._step(-1)

    def _step(self, step: int) -> None:
        chat = self._window.chat
        conversation_id = chat.list.neighbour(chat.open_id, step)
        if conversation_id is not None:
            self._window.open_conversation(conversation_id)

    def pin_conversation(self) -> None:
        """Put what is chosen on top of the list, or back into its order."""
        chosen = self._chosen()
        organiser = self._window.chat.organiser
        organiser.change([one.id for one in chosen], pinned=not all(one.pinned for one in chosen))

    def archive_conversation(self) -> None:
        """Put what is chosen away; it stays in the search."""
        self._window.chat.organiser.change([one.id for one in self._chosen()], archived=True)

    def _chosen(self) -> list[Conversation]:
        return [one for one in map(self._window.chat.list.get, self._window.sidebar.selection()) if one is not None]

    def show_archive(self) -> None:
        """Show what was put away."""
        self._show_place("archive")

    def show_trash(self) -> None:
        """Show what was deleted."""
        self._show_place("trash")

    def _show_place(self, place: Place) -> None:
        if not self._window.panes.shown("left"):
            self._window.toggle_bar("left")
        self._window.sidebar.go_to(place)

    # Answers

    def stop(self) -> None:
        """Close the drawer, or stop the answer."""
        if not self._window.panes.close_drawer():
            self._window.chat.stop()

    def regenerate(self) -> None:
        """Another answer to the last question."""
        self._window.chat.regenerate()

    def continue_answer(self) -> None:
        """Go on with the last answer."""
        self._window.chat.continue_answer()

    def copy_last_answer(self) -> None:
        """Copy the last answer as Markdown."""
        answer = self._window.chat.message("", "assistant")
        if answer is not None:
            QGuiApplication.clipboard().setText(without_thought(answer.content))
            self._window.toast(self._window.tr("The answer was copied."))

    def edit_last_message(self) -> None:
        """Change the last question."""
        message = self._window.chat.message("", "user")
        if message is not None:
            self._window.show_chat()
            self._window.chat_screen.edit_message(message.id)

    # Models

    def choose_model(self) -> None:
        """Open the menu of models, or close it."""
        self._window.toggle_model_menu()

    def open_model_file(self) -> None:
        """Ask for a file and load it."""
        window = self._window
        dialog = QFileDialog(window, window.tr("Open a model file"))
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.setNameFilters(
            [window.tr("Models (*.gguf *.nutshell *.safetensors config.json)"), window.tr("All files (*)")]
        )
        dialog.fileSelected.connect(window.models.load_path)
        dialog.open()

    def get_model(self) -> None:
        """Show the page that fetches models from the hub, or the chat again."""
        self._window.toggle_downloads()

    def compress_model(self) -> None:
        """Show the wizard that makes a model smaller, or the chat again."""
        self._window.toggle_wizard()

    def unload_model(self) -> None:
        """Free the model's memory."""
        self._window.models.unload()

    # What is shown, and how

    def toggle_sidebar(self) -> None:
        """Show or hide the conversations."""
        self._window.toggle_bar("left")

    def toggle_inspector(self) -> None:
        """Show or hide the inspector."""
        self._window.toggle_bar("right")

    def toggle_hardware(self) -> None:
        """Show the hardware page, or the chat again."""
        self._window.toggle_hardware()

    def show_network(self) -> None:
        """Show what leaves this machine, or the chat again."""
        self._window.toggle_network()

    def zoom_in(self) -> None:
        """Larger text."""
        self._zoom(next((step for step in _ZOOM_STEPS if step > metrics.zoom + 0.01), _ZOOM_STEPS[-1]))

    def zoom_out(self) -> None:
        """Smaller text."""
        self._zoom(next((step for step in reversed(_ZOOM_STEPS) if step < metrics.zoom - 0.01), _ZOOM_STEPS[0]))

    def zoom_reset(self) -> None:
        """Text of the normal size."""
        self._zoom(1.0)

    def _zoom(self, zoom: float) -> None:
        self._apply_theme(zoom=zoom)
        self._window.keep(zoom=zoom)

    def theme_system(self) -> None:
        """Light or dark as the system is."""
        self._set_theme("system")

    def theme_light(self) -> None:
        """Always light."""
        self._set_theme("light")

    def serve_model(self) -> None:
        """Switch the address on or off at which other programs can use the model."""
        self._window.serve_requested.emit(self._window.commands["model.serve"].isChecked())

    def theme_dark(self) -> None:
        """Always dark."""
        self._set_theme("dark")

    def _set_theme(self, theme: Mode) -> None:
        self._window.keep(theme=theme)
        self._window.commands[f"theme.{theme}"].setChecked(True)
        self._apply_theme()

    def _apply_theme(self, zoom: float | None = None) -> None:
        app = QApplication.instance()
        if isinstance(app, QApplication):
            commands = self._window.commands
            apply_theme(
                app,
                self._window.theme(),
                zoom=zoom,
                reduced_motion=commands["theme.motion"].isChecked(),
                high_contrast=commands["theme.contrast"].isChecked(),
                wrap_code=commands["view.wrap_code"].isChecked(),
            )

    def theme_contrast(self) -> None:
        """Colours of high contrast, or the usual ones."""
        self._window.keep(high_contrast=self._window.commands["theme.contrast"].isChecked())
        self._apply_theme()

    def less_motion(self) -> None:
        """Nothing slides, or again as usual."""
        self._window.keep(reduced_motion=self._window.commands["theme.motion"].isChecked())
        self._apply_theme()

    def wrap_code(self) -> None:
        """Break lines of code that are too long, or let them go on."""
        wrap = self._window.commands["view.wrap_code"].isChecked()
        self._window.keep(wrap_code=wrap)
        self._apply_theme()

    def show_palette(self) -> None:
        """Offer every command, chat and model by name; or close that list."""
        if self._palette is None:
            self._palette = CommandPalette(self._find, self._window)
            self._palette.chosen.connect(self._chose)
        if self._palette.isVisible():
            self._palette.close_popover()
        else:
            self._palette.open()

    def _find(self, text: str) -> list[Entry]:
        window = self._window
        kinds = (preset_entries(window, self.start_preset), chat_entries(window), model_entries(window))
        others = kinds if text.strip() else ()
        return find(text, command_entries(window.commands), others, self._recent())

    def _recent(self) -> list[str]:
        """Keys of the palette, the last one that was chosen first."""
        return str(self._window.setting("recent_commands") or "").splitlines()

    def _chose(self, key: str) -> None:
        recent = [key, *(one for one in self._recent() if one != key)]
        self._window.keep(recent_commands="\n".join(recent[:_RECENT]))

    def show_shortcuts(self) -> None:
        """List the keys of all commands."""
        ShortcutsDialog(self._window.commands, self._window).open()

    def focus_search(self) -> None:
        """Go to the search field, showing its bar."""
        if not self._window.panes.shown("left"):
            self._window.toggle_bar("left")
        self._window.sidebar.focus_search()

    def focus_composer(self) -> None:
        """Go to where a message is typed."""
        self._window.show_chat()

    def attach_files(self) -> None:
        """Ask for files for the message that is being written."""
        self._window.show_chat()
        self._window.chat_screen.files.ask()

    def insert_prompt(self) -> None:
        """Show the prompts over the composer."""
        self._window.show_chat()
        self._window.chat_screen.prompts.open()

    def quit(self) -> None:
        """Close every window; an answer that is being written is kept as it is."""
        QApplication.closeAllWindows()
