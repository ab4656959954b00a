"""From a seed and a name to the key of a stream."""

from hashlib import blake2b

from evenflow import checks
from evenflow.errors import ParameterTypeError, ParameterValueError

_PERSON = b"evenflow"


def stream_key(seed: int, name: str) -> int:
    """Return the 64-bit key of the stream `name` under `seed`.

    The key is the BLAKE2b digest of 8 bytes, personalised with `evenflow`, of the seed (signed, 64 bits,
    little-endian) followed by the name in UTF-8. The digest is read little-endian: its first four bytes are
    the key's low word.

    Args:
        seed: An integer in [-2^63, 2^63).
        name: Any text, such as a parameter's qualified name.

    Raises:
        ParameterTypeError: The seed is no integer or the name no string.
        ParameterValueError: The seed does not fit 64 bits, or the name cannot be written in UTF-8.

    Examples:
        >>> hex(stream_key(0, "layer.weight"))
        '0xe19d4cfd955d4ccb'
    """
    number = checks.integer("seed", seed, low=-(2**63), high=2**63 - 1)
    if not isinstance(name, str):
        raise ParameterTypeError(f"name must be a string, such as a parameter's qualified name; got {name!r}")
    try:
        text = name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ParameterValueError(f"name must be text that UTF-8 can write; got {name!r}") from error
    digest = blake2b(number.to_bytes(8, "little", signed=True) + text, digest_size=8, person=_PERSON).digest()
    return int.from_bytes(digest, "little")
