"""The wizard as a page of the window: its steps, and what leads from one to the next."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from backend.api.compression import Compression, CompressionOptions, CompressionSource, PlanCompression
from backend.api.schemas import ErrorInfo
from ui.theme import metrics
from ui.viewmodels.compression_session import CompressionSession
from ui.viewmodels.words import error_words
from ui.widgets import ConfirmDialog, IconButton, NoticeBar, text_label
from ui.widgets.page import PageStack
from ui.wizard.missing_page import MissingPage
from ui.wizard.plan_page import PlanPage
from ui.wizard.progress_page import ProgressPage
from ui.wizard.result_page import ResultPage
from ui.wizard.source_page import SourcePage
from ui.wizard.steps import StepLine

__all__ = ["WizardPage"]

_WIDEST = 820


class WizardPage(QWidget):
    """Choose a model, choose a size, watch, look at the result.

    Signals:
        use_requested(str): path of a finished build to load.
        close_requested: back to the chat.
    """

    use_requested = Signal(str)
    close_requested = Signal()

    def __init__(self, session: CompressionSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self._request = PlanCompression()
        self._name = ""
        self._listed = False  # the list of models was there to be focused
        self._seen = ""  # id of the result that was on the screen
        self.close_button = IconButton("close", self.tr("Back to the chat"))
        self.close_button.clicked.connect(self.close_requested)
        head = QHBoxLayout()
        head.addWidget(text_label(self.tr("Make a model smaller"), "title", wrap=True), 1)
        head.addWidget(self.close_button, 0, Qt.AlignmentFlag.AlignTop)
        self.steps = StepLine([self.tr("Model"), self.tr("Size"), self.tr("Work"), self.tr("Result")])
        self.notice = NoticeBar(closable=True)
        self.away = text_label("", "muted", wrap=True)
        self.missing = MissingPage(session)
        self.source = SourcePage(session)
        self.plan = PlanPage(session)
        self.progress = ProgressPage(session)
        self.result = ResultPage(session)
        self.pages = PageStack()
        for page in (self.missing, self.source, self.plan, self.progress, self.result):
            self.pages.add(page)
        content = QWidget()
        content.setMaximumWidth(metrics.px(_WIDEST))
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.l)
        column.addLayout(head)
        column.addWidget(self.steps)
        column.addWidget(self.notice)
        column.addWidget(self.away)
        column.addWidget(self.pages, 1)
        centred = QWidget()
        row = QHBoxLayout(centred)
        row.setContentsMargins(metrics.xl, metrics.xl, metrics.xl, metrics.xl)
        row.addStretch(1)
        row.addWidget(content, 1000)
        row.addStretch(1)
        self._area = QScrollArea()
        self._area.setWidgetResizable(True)
        self._area.setFrameShape(QFrame.Shape.NoFrame)
        self._area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._area.setWidget(centred)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self._area)
        self.setAccessibleName(self.tr("Make a model smaller"))
        self._connect()
        self._go(self.source)

    def _connect(self) -> None:
        session = self.session
        session.changed.connect(self._changed)
        session.moved.connect(self.progress.move_on)
        session.problem.connect(self._problem)
        session.ended.connect(self._ended)
        self.source.chosen.connect(self.choose)
        self.source.path_chosen.connect(self.choose_path)
        self.source.resume_requested.connect(self.resume)
        self.source.delete_requested.connect(self._ask_delete)
        self.source.result_requested.connect(self.show_result)
        self.plan.back_requested.connect(self._to_sources)
        self.plan.plan_requested.connect(self._plan_again)
        self.plan.start_requested.connect(self._start)
        self.plan.unfolded.connect(self._bring)
        self.progress.delete_requested.connect(self._ask_delete)
        self.progress.back_requested.connect(self._to_sources)
        self.result.back_requested.connect(self._to_sources)
        self.result.use_requested.connect(self.use_requested)

    # What leads on

    def choose(self, source: CompressionSource) -> None:
        """The model was chosen from the list."""
        self._ask_plan(PlanCompression(path=source.entry.path, options=self.plan.form.options()), source.entry.name)

    def choose_path(self, path: str) -> None:
        """A file or a folder was chosen."""
        name = path.replace("\\", "/").rstrip("/").rpartition("/")[2]
        self._ask_plan(PlanCompression(path=path, options=self.plan.form.options()), name)

    def resume(self, compression_id: str) -> None:
        """Go on with one that was left."""
        self.progress.forget_points()
        self.session.show(compression_id)
        self.session.resume(compression_id)
        self._go(self.progress)

    def show_result(self, compression_id: str) -> None:
        """The result of one that was made before."""
        self.session.show(compression_id)
        self._go(self.result)

    def page(self) -> QWidget:
        """The page that is shown."""
        return self.pages.current() or self.source

    def _ask_plan(self, request: PlanCompression, name: str) -> None:
        self._request, self._name = request, name
        self.session.make_plan(request, name)
        self._go(self.plan)

    def _plan_again(self, options: CompressionOptions) -> None:
        self._request = PlanCompression(path=self._request.path, options=options)
        self.session.make_plan(self._request, self._name)

    def _start(self, levels: list[str], options: CompressionOptions, name: str) -> None:
        plan = self.session.plan
        if plan is not None:
            self.plan.start.setEnabled(False)  # until the engine has answered
            self.progress.forget_points()
            self.session.start(plan.source, levels, options, name)

    def _to_sources(self) -> None:
        self.session.forget_plan()
        self.session.show("")
        self.session.refresh()
        self._go(self.source)

    def _ask_delete(self, compression_id: str) -> None:
        found = [one for one in self._known() if one.id == compression_id]
        if not found:
            return
        dialog = ConfirmDialog(
            self.window(),
            self.tr("Cancel and delete the work?"),
            self.tr("What was done so far for {0} is deleted. The original model stays as it is.").format(
                found[0].name
            ),
            action=self.tr("Delete the work"),
            cancel=self.tr("Keep it"),
        )
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.accepted.connect(lambda: self.session.delete(compression_id))
        dialog.open()

    # What is shown

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.session.refresh()
        running = self.session.running
        if running is not None:
            self.session.show(running.id)
            self._go(self.progress)
        elif self.page() is self.result and self.session.shown == self._seen:
            self._to_sources()
        self._note_seen()
        self._changed()
        self._focus()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.LanguageChange:
            self._changed()

    def _changed(self) -> None:
        session, page = self.session, self.page()
        self.away.setText("" if session.ready else self.tr("The engine makes the builds. It is not running now."))
        self.away.setVisible(not session.ready)
        self.pages.setEnabled(session.ready)
        if not session.installed:
            page = self.missing
        elif page is self.missing:
            page = self.source
        current = session.current
        if current is not None and current.job is not None and page in (self.source, self.plan):
            page = self.progress
        elif current is None and page in (self.progress, self.result) and session.job is None:
            page = self.source
        for one in (self.missing, self.source, self.plan, self.progress, self.result):
            if one is page:
                one.refresh()
        self._go(page)
        if not self._listed and page is self.source and session.sources and self.isVisible():
            self._listed = True
            self._focus()

    def _ended(self, one: Compression) -> None:
        if one.state == "finished":
            self._go(self.result)
            self.result.refresh()

    def _problem(self, error: ErrorInfo) -> None:
        if error.code == "packages_missing":
            self.session.refresh()
        self.notice.set_notice(error_words(error), level="error", details=error.details)
        self.plan.refresh()

    def _go(self, page: QWidget) -> None:
        changed = page is not self.pages.current()
        if changed:
            self.pages.show_page(page)
            self._area.verticalScrollBar().setValue(0)
            self.notice.set_notice("")
        order = [self.source, self.plan, self.progress, self.result]
        self.steps.setVisible(page in order)
        if page in order:
            self.steps.set_current(order.index(page))
        for one in (self.missing, self.source, self.plan, self.progress, self.result):
            if changed and one is page:
                one.refresh()
        if changed and self.isVisible():
            self._note_seen()
            self._focus()

    def _bring(self, widget: QWidget) -> None:
        """What was unfolded may lie below the window: it is scrolled to when it has its place."""

        def bring() -> None:
            content = self._area.widget()
            if content is not None:
                bottom = widget.mapTo(content, widget.rect().bottomLeft()).y()
                self._area.ensureVisible(0, bottom + self.plan.start.height() + metrics.xl, 0, 0)

        QTimer.singleShot(0, self, bring)

    def _note_seen(self) -> None:
        if self.page() is self.result:
            self._seen = self.session.shown

    def _focus(self) -> None:
        page = self.page()
        if isinstance(page, MissingPage | SourcePage | ProgressPage | ResultPage):
            page.focus_first()
        elif isinstance(page, PlanPage):
            page.list.setFocus(Qt.FocusReason.OtherFocusReason)

    def _known(self) -> list[Compression]:
        status = self.session.status
        return status.compressions if status is not None else []
