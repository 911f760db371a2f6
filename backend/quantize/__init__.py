"""Making weights smaller: so far the quick packer, which looks at the weights only."""
