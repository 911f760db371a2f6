"""The bar at the left: conversations, search, and the other pages at its foot."""
