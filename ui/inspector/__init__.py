"""The bar at the right: how the open conversation is answered, and what it costs."""
