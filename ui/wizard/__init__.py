"""The wizard that makes a model smaller: choose it, choose a size, watch the work, look at the result."""
