"""Networks that are operated on, written as people write them, and what they compute."""
