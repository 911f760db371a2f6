"""The frame around the screens: panes, top bar, notices, the page for an engine that does not start."""
