"""What the widgets show, as plain Python and Qt item models: no widget is imported here."""
