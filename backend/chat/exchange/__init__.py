"""Conversations out of the program and into it: files for people, and files of other programs."""
