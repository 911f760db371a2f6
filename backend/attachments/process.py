"""The process in which a file from a stranger is read: `python -m backend.attachments.process NAME < file`.

One file, one process: whatever a file makes a reader do, its parent counts the time and the memory, and killing it
costs nothing. Writes one JSON object: {"kind", "mime", "text"} or {"what", "why", "remedy"}.
"""

from __future__ import annotations

import json
import sys

from backend.attachments.document import Unreadable
from backend.attachments.reading import read_document


def main() -> None:
    """Reads standard input to its end and answers."""
    content = sys.stdin.buffer.read()
    try:
        document = read_document(sys.argv[1], content)
        answer = {"kind": document.kind, "mime": document.mime, "text": document.text}
    except Unreadable as problem:
        answer = {"what": problem.what, "why": problem.why, "remedy": problem.remedy}
    sys.stdout.buffer.write(json.dumps(answer).encode())


if __name__ == "__main__":
    main()
