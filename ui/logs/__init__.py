"""What the program wrote into its logs, on a page, and what it says of itself when something goes wrong."""
