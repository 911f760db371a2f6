"""The conversation and the place where one types."""
