"""The sessions against a fake engine: what the user does, what the engine says, and the engine's death."""

from __future__ import annotations

import pytest

from backend.api.errors import DiskFullError, NotFoundError
from backend.api.schemas import ConversationUpdate, ErrorInfo, NewConversation, Sampling, SearchHit, StartTurn
from tests.fakes.client import FakeClient, fake_loaded
from tests.ui.shell.support import Loop
from ui.bridge.engine_link import EngineLink
from ui.viewmodels.chat_session import WAITING_ID, ChatSession
from ui.viewmodels.model_session import ModelSession


class Stage:
    """A session and all it says."""

    def __init__(self, loop: Loop, link: EngineLink, fake: FakeClient) -> None:
        self.loop, self.link, self.fake = loop, link, fake
        self.models = ModelSession(link)
        self.chat = ChatSession(link, self.models)
        self.problems: list[ErrorInfo] = []
        self.returned: list[str] = []
        self.busy: list[bool] = []
        self.interrupted: list[str] = []
        self.chat.problem.connect(self.problems.append)
        self.models.problem.connect(self.problems.append)
        self.chat.text_returned.connect(self.returned.append)
        self.chat.busy_changed.connect(self.busy.append)
        self.chat.interrupted.connect(self.interrupted.append)

    def attach(self, fake: FakeClient | None = None) -> None:
        self.fake = fake or self.fake
        self.link.attach(self.fake)
        self.loop.until(lambda: self.fake.following.is_set() and len(self.chat.list) == len(self.fake.details))

    def open(self, title: str) -> str:
        key = next(d.conversation.id for d in self.fake.details.values() if d.conversation.title == title)
        self.chat.open(key)
        self.loop.until(lambda: self.chat.open_id == key and self.chat.branch())
        return key

    def send(self, text: str) -> str:
        """Send, and give the id of the answer that is being written."""
        assert self.chat.send(text)
        self.loop.until(lambda: self.chat.streaming_id)
        assert self.chat.streaming_id is not None
        return self.chat.streaming_id

    def texts(self) -> list[str]:
        return [message.content for message in self.chat.branch()]


@pytest.fixture
def stage(loop: Loop, link: EngineLink, fake: FakeClient) -> Stage:
    return Stage(loop, link, fake)


def test_the_first_message_makes_a_conversation_titled_by_its_words(stage: Stage) -> None:
    stage.attach()
    stage.chat.configure(system_prompt="Be brief.", sampling=Sampling(temperature=0.1))
    answer = stage.send("What is a nutshell, in a few words please?")
    new = stage.fake.called("create_conversation")
    assert new == [NewConversation(title="What is a nutshell, in a few words please?", system_prompt="Be brief.")]
    assert stage.chat.conversation.sampling == Sampling(temperature=0.1)
    stage.fake.say(answer, "A hard ")
    stage.fake.say(answer, "cover.")
    stage.fake.finish(answer)
    stage.loop.until(lambda: not stage.chat.busy)
    assert stage.texts() == ["What is a nutshell, in a few words please?", "A hard cover."]
    assert stage.busy == [True, False]
    assert stage.problems == []
    assert len(stage.fake.called("create_conversation")) == 1


def test_a_second_message_goes_under_the_head(stage: Stage) -> None:
    stage.attach()
    key = stage.open("Merge lists")
    head = stage.chat.branch()[-1].id
    stage.send("And sets?")
    assert stage.fake.called("start_turn") == [(key, StartTurn(parent_id=head, text="And sets?"))]


def test_what_is_sent_while_the_engine_starts_waits_and_is_then_answered(stage: Stage) -> None:
    assert stage.chat.send("Hello")
    assert [message.id for message in stage.chat.branch()] == [WAITING_ID]
    assert stage.chat.busy
    stage.attach()
    stage.loop.until(lambda: stage.chat.streaming_id)
    assert stage.texts() == ["Hello", ""]
    assert stage.returned == []


def test_what_is_sent_while_the_model_loads_waits_too(stage: Stage) -> None:
    stage.fake.loaded, stage.fake.loading = None, "job"
    stage.attach()
    assert stage.chat.send("Hello")
    stage.loop.turn()
    assert stage.fake.called("start_turn") == []
    stage.fake.loading_ended(fake_loaded())
    stage.loop.until(lambda: stage.chat.streaming_id)
    assert stage.texts() == ["Hello", ""]


def test_a_waiting_message_comes_back_by_stop_and_when_no_model_comes(stage: Stage) -> None:
    stage.chat.send("Hello")
    stage.chat.stop()
    assert stage.returned == ["Hello"]
    assert stage.chat.branch() == []
    stage.chat.send("Again")
    stage.fake.loaded = None
    stage.attach()
    stage.loop.until(lambda: len(stage.returned) == 2)
    assert stage.returned == ["Hello", "Again"]
    assert stage.problems[-1].code == "no_model"
    assert not stage.chat.busy


def test_without_a_model_nothing_is_sent_and_the_way_out_is_said(stage: Stage) -> None:
    stage.fake.loaded = None
    stage.attach()
    assert not stage.chat.send("Hello")
    assert stage.problems[0].remedy
    assert stage.fake.called("create_conversation") == []


def test_a_refused_turn_gives_the_text_back(stage: Stage) -> None:
    stage.attach()
    stage.open("Merge lists")
    stage.fake.failures["start_turn"] = DiskFullError("The disk is full.")
    assert stage.chat.send("Precious text")
    stage.loop.until(lambda: stage.returned)
    assert stage.returned == ["Precious text"]
    assert stage.problems[0].code == "disk_full"
    assert not stage.chat.busy


def test_stop_keeps_the_text(stage: Stage) -> None:
    stage.attach()
    answer = stage.send("Count")
    stage.fake.say(answer, "one two ")
    stage.chat.stop()
    stage.loop.until(lambda: not stage.chat.busy)
    last = stage.chat.branch()[-1]
    assert (last.content, last.status) == ("one two ", "stopped")


def test_regenerate_edit_continue_and_branches(stage: Stage) -> None:
    stage.attach()
    stage.open("Merge lists")
    question, first = stage.chat.branch()
    stage.fake.answer = "Use extend."
    stage.chat.regenerate()
    stage.loop.until(lambda: not stage.chat.busy and len(stage.fake.called("start_turn")) == 1)
    second = stage.chat.branch()[-1]
    assert second.content.strip() == "Use extend."
    assert stage.chat.siblings()[second.id] == (1, 2)

    stage.chat.step_branch(second.id, -1)
    assert stage.chat.branch()[-1].id == first.id
    stage.loop.until(lambda: stage.fake.details[stage.chat.open_id].conversation.head_id == first.id)

    stage.chat.edit(question.id, "How do I merge two sets?")
    stage.loop.until(lambda: not stage.chat.busy and len(stage.fake.called("start_turn")) == 2)
    assert stage.texts() == ["How do I merge two sets?", "Use extend. "]
    edited = stage.chat.branch()[0]
    assert stage.chat.siblings()[edited.id] == (1, 2)

    last = stage.chat.branch()[-1]
    stage.chat.continue_answer(last.id)
    stage.loop.until(lambda: not stage.chat.busy and len(stage.fake.called("start_turn")) == 3)
    assert stage.chat.branch()[-1].content == "Use extend. Use extend. "


def test_an_answer_goes_on_while_another_chat_is_open(stage: Stage) -> None:
    stage.attach()
    key = stage.open("Merge lists")
    answer = stage.send("Count")
    stage.fake.say(answer, "one ")
    stage.open("Dinner ideas")
    assert not stage.chat.busy
    stage.fake.say(answer, "two ")
    stage.loop.turn(5)
    assert stage.chat.live_conversations == {key}
    assert stage.texts()[-1] == "Pears."
    stage.chat.open(key)
    stage.loop.until(lambda: stage.texts()[-1] == "one two ")
    assert stage.chat.busy
    stage.fake.finish(answer)
    stage.loop.until(lambda: not stage.chat.live_conversations)
    assert stage.problems == []


def test_an_answer_that_another_program_started_is_followed(stage: Stage) -> None:
    stage.attach()
    key = next(iter(stage.fake.details))
    ticket = stage.loop.run(stage.fake.start_turn(key, StartTurn(text="From elsewhere")))
    stage.fake.say(ticket.assistant.id, "Yes ")
    stage.loop.until(lambda: stage.chat.live_conversations == {key})
    stage.chat.open(key)
    stage.loop.until(lambda: stage.chat.open_id == key)
    stage.fake.say(ticket.assistant.id, "indeed")
    stage.loop.until(lambda: stage.texts()[-1] == "Yes indeed")


def test_the_engines_death_keeps_what_was_shown_and_the_answer_can_go_on(stage: Stage) -> None:
    stage.attach()
    stage.open("Merge lists")
    answer = stage.send("Count")
    stage.fake.say(answer, "one two three")
    stage.loop.until(lambda: stage.texts()[-1] == "one two three")
    before = stage.fake
    before.die()
    stage.link.detach()
    assert stage.interrupted == [answer]
    assert not stage.chat.busy
    assert stage.chat.branch()[-1].status == "interrupted"
    assert stage.texts()[-1] == "one two three"
    assert stage.models.loaded is None

    again = FakeClient(before.details.values(), loaded=None)
    stored = next(m for m in before.details[stage.chat.open_id].messages if m.id == answer)
    stored.content, stored.status = "one t", "interrupted"
    stage.attach(again)
    stage.loop.until(lambda: again.called("load_model"))  # the model that was loaded comes back by itself
    again.loading_ended(fake_loaded())
    stage.loop.until(lambda: stage.models.can_answer and again.called("conversation"))
    assert stage.texts()[-1] == "one two three"
    again.answer = "and four"
    stage.chat.continue_answer(answer)
    stage.loop.until(lambda: again.called("start_turn") and not stage.chat.busy)
    assert stage.texts()[-1].startswith("one t")
    assert stage.texts()[-1].endswith("and four ")


def test_a_model_that_killed_the_engine_while_loading_is_not_tried_again(stage: Stage) -> None:
    stage.attach()
    stage.models.load_path("hub/qwen2.5-coder-1.5b.gguf")
    stage.fake.publish_model(None)
    stage.loop.until(lambda: stage.models.loaded is None and stage.models.loading)
    stage.fake.die()
    stage.link.detach()
    again = FakeClient(stage.fake.details.values(), loaded=None)
    stage.attach(again)
    stage.loop.turn(5)
    assert again.called("load_model") == []


def test_deleting_the_open_conversation_shows_a_new_chat_and_undo_brings_it_back(stage: Stage) -> None:
    stage.attach()
    key = stage.open("Dinner ideas")
    gone: list[str] = []
    stage.chat.deleted.connect(lambda conversation: gone.append(conversation.id))
    stage.chat.delete(key)
    stage.loop.until(lambda: gone == [key])
    assert stage.chat.open_id == ""
    assert stage.chat.list.get(key) is None
    stage.chat.restore(key)
    stage.loop.until(lambda: stage.chat.open_id == key and stage.texts()[-1:] == ["Pears."])
    assert stage.chat.list.get(key) is not None


def test_rename_and_settings_reach_the_engine(stage: Stage) -> None:
    stage.attach()
    key = stage.open("Dinner ideas")
    stage.chat.rename(key, "  Supper ")
    stage.chat.configure(system_prompt="Cook.", context_policy="stop")
    stage.loop.until(lambda: stage.chat.conversation.title == "Supper")
    stored = stage.fake.details[key].conversation
    assert (stored.title, stored.system_prompt, stored.context_policy) == ("Supper", "Cook.", "stop")
    assert (key, ConversationUpdate(system_prompt="Cook.", context_policy="stop")) in stage.fake.called(
        "update_conversation"
    )


def test_a_conversation_that_is_gone_leaves_the_list_with_a_sentence(stage: Stage) -> None:
    stage.attach()
    key = next(iter(stage.fake.details))
    stage.fake.failures["conversation"] = NotFoundError("There is no such conversation.")
    stage.chat.open(key)
    stage.loop.until(lambda: stage.problems)
    assert stage.chat.list.get(key) is None
    assert stage.chat.open_id == ""


def test_only_the_latest_of_two_quick_openings_is_shown(stage: Stage) -> None:
    stage.attach()
    first, second, _ = stage.fake.details
    stage.chat.open(first)
    stage.chat.open(second)
    stage.loop.until(lambda: len(stage.fake.called("conversation")) == 2)
    stage.loop.turn(5)
    assert stage.chat.open_id == second


def test_search_filters_at_once_and_adds_hits(stage: Stage) -> None:
    stage.attach()
    other = next(d.conversation.id for d in stage.fake.details.values() if d.conversation.title == "Dinner ideas")
    stage.fake.hits = [SearchHit(conversation_id=other, message_id="m", title="Dinner ideas", snippet="lists")]
    stage.chat.search("lists")
    assert stage.chat.list.shown == 1
    stage.loop.until(lambda: stage.chat.list.shown == 2)
    stage.chat.search("")
    assert stage.chat.list.shown == 3


def test_loading_a_model_shows_progress_can_be_cancelled_and_says_why_it_failed(stage: Stage) -> None:
    stage.attach()
    stage.loop.until(lambda: stage.models.list.rowCount() > 0)
    stage.models.load(stage.fake.entries[1])
    assert stage.models.title == "Loading Qwen2.5-Coder-1.5B-Instruct…"
    stage.loop.until(lambda: stage.fake.loading)
    stage.fake.loading_moved(0.5)
    stage.loop.until(lambda: stage.models.progress == 0.5)
    assert not stage.models.can_answer
    stage.models.cancel()
    stage.loop.until(lambda: not stage.models.loading)
    assert stage.models.title == "SmolLM2-135M-Instruct"
    stage.models.load(stage.fake.entries[2])
    stage.loop.until(lambda: stage.fake.loading)
    stage.fake.loading_ended(None, ErrorInfo(code="out_of_memory", what="This needs 4.9 GB; 3 GB is free."))
    stage.loop.until(lambda: stage.problems)
    assert stage.problems[0].code == "out_of_memory"
    assert stage.models.can_answer


def test_what_is_asked_of_a_dead_engine_waits_for_the_next_one(stage: Stage) -> None:
    stage.attach()
    stage.open("Merge lists")
    question, answer = stage.chat.branch()
    stage.fake.die()
    stage.link.detach()
    stage.chat.regenerate(answer.id)
    assert stage.chat.waiting
    again = FakeClient(stage.fake.details.values(), loaded=fake_loaded())
    stage.attach(again)
    stage.loop.until(lambda: again.called("start_turn"))
    assert again.called("start_turn") == [(stage.chat.open_id, StartTurn(parent_id=question.id))]
    assert not stage.chat.waiting
    assert stage.problems == []


def test_a_turn_that_waits_is_given_up_by_stop(stage: Stage) -> None:
    stage.attach()
    stage.open("Merge lists")
    stage.fake.die()
    stage.link.detach()
    stage.chat.edit(stage.chat.branch()[0].id, "Other words")
    stage.chat.stop()
    assert not stage.chat.busy
    assert stage.returned == ["Other words"]


def test_an_edited_answer_is_another_version_and_a_deleted_turn_is_gone(stage: Stage) -> None:
    stage.attach()
    key = stage.open("Merge lists")
    question, answer = stage.chat.branch()[-2:]
    before = stage.texts()
    stage.chat.edit_reply(answer.id, "In other words.")
    stage.loop.until(lambda: stage.texts()[-1] == "In other words.")
    assert stage.chat.siblings()[stage.chat.branch()[-1].id] == (1, 2)
    stage.chat.delete_turn(question.id)
    stage.loop.until(lambda: stage.texts() == before[:-2])
    assert stage.fake.called("delete_turn") == [question.id]
    assert stage.chat.open_id == key
    assert stage.problems == []
