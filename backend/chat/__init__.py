"""From a conversation to a prompt, and from tokens back to a stored answer.

`templates` renders messages (in a process of its own: `template_process`), `context` decides what fits the window,
`service` runs turns: it stores the messages, streams the answer into the store first and to the listeners second.
"""
