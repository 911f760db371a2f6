"""Sets Nutshell up and starts it. Standard library only; imports nothing else of this repository.

`python3 -m installer run` is the whole story for a person; `cli.py` lists the other commands. A set-up is a list of
steps (`steps.py`), each with a key that says what it makes. Keys of finished steps stand in one file in the virtual
environment (`stamp.py`), written after the step, so a set-up that is killed goes on where it was.
"""
