"""How a layer is called in a sentence."""


def called(name: str) -> str:
    """A layer's name as a sentence has it, since "0" alone reads like a number.

    Example:
        >>> called("encoder.0")
        "layer 'encoder.0'"
    """
    return f"layer '{name}'"
