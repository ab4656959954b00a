"""The claims of the lab, one a file."""
