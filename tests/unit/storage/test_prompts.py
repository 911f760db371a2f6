from __future__ import annotations

import pytest

from backend.api.errors import NotFoundError


def test_prompts_are_made_changed_and_removed(store):
    late = store.create_prompt("translate", "Into {{language}}: {{text}}")
    early = store.create_prompt("Explain \ud83d", "Explain it.")
    assert [one.name for one in store.list_prompts()] == ["Explain \ufffd", "translate"]
    assert store.update_prompt(late.id, name="Translate").text == "Into {{language}}: {{text}}"
    assert store.update_prompt(late.id, text="x").name == "Translate"
    store.delete_prompt(early.id)
    assert [one.id for one in store.list_prompts()] == [late.id]
    for call in (
        lambda: store.update_prompt(early.id, name="x"),
        lambda: store.delete_prompt(early.id),
    ):
        with pytest.raises(NotFoundError):
            call()
