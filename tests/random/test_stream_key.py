import pytest

from evenflow.errors import ParameterTypeError, ParameterValueError
from evenflow.random import Stream
from evenflow.random.key import stream_key


@pytest.mark.parametrize(
    ("seed", "name", "key"),
    [
        (0, "", 0xBB1D4FAE265717AA),
        (0, "layer.weight", 0xE19D4CFD955D4CCB),
        (-1, "layer.weight", 0x502800CD2289DCF1),
        (2**63 - 1, "Schicht.Größe", 0xE3209AA5DF90EB94),
    ],
)
def test_keys_are_a_promise(seed, name, key):
    assert stream_key(seed, name) == Stream(seed, name).key == key


def test_seeds_and_names_do_not_run_into_each_other():
    keys = {stream_key(seed, name) for seed in range(-50, 50) for name in ("", "a", "b", "ab", "a.b", "\0")}
    assert len(keys) == 600


@pytest.mark.parametrize("seed", [2**63, -(2**63) - 1, 2**64])
def test_a_seed_beyond_64_bits_is_refused(seed):
    with pytest.raises(ParameterValueError, match=r"seed must be an integer in \[-9223372036854775808, "):
        Stream(seed, "a")


@pytest.mark.parametrize("seed", [True, 1.0, "1", None])
def test_a_seed_that_is_no_integer_is_refused(seed):
    with pytest.raises(ParameterTypeError, match="seed"):
        Stream(seed, "a")


@pytest.mark.parametrize("name", [None, b"weight", 3])
def test_a_name_that_is_no_string_is_refused(name):
    with pytest.raises(ParameterTypeError, match="name must be a string"):
        Stream(0, name)


def test_a_name_that_utf8_cannot_write_is_refused():
    with pytest.raises(ParameterValueError, match="UTF-8"):
        Stream(0, "\ud800")


def test_a_key_leads_back_to_its_stream():
    stream = Stream(3, "weight")
    again = Stream.from_key(stream.key)
    assert again == stream
    assert hash(again) == hash(stream)
    assert eval(repr(stream), {"Stream": Stream}) == stream
    assert stream != Stream(4, "weight")
    assert stream != stream.key


@pytest.mark.parametrize(
    ("key", "error"), [(-1, ParameterValueError), (2**64, ParameterValueError), (1.0, ParameterTypeError)]
)
def test_a_key_is_64_bits(key, error):
    with pytest.raises(error, match="key must be an integer"):
        Stream.from_key(key)
