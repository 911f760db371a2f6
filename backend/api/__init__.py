"""The door of the backend.

`ui` and other programs see the backend through this package alone: `schemas` (values), `errors` (the tree),
`client` (what a window or a terminal calls). `server` and `routes` are the other side of the wire and are imported by
the engine process only, so that importing this package stays cheap.
"""
