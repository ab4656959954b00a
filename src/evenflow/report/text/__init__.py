"""A diagnosis and its outcomes on a terminal."""
