"""The bits are a promise: if one of these changes, every seeded model of every user changes with it."""

from hashlib import sha256

import pytest

from evenflow.random import Stream

HASHES = {
    ("uniform", 0, "layer.weight"): "49aa3e4460e972a9ad428f32faf5626a",
    ("uniform", 1, "layer.weight"): "bc580c26256e4de430b968fd9395cde6",
    ("uniform", -9223372036854775808, ""): "a2e61b5581165983d53f57e7049602bb",
    ("uniform", 42, "transformer.h.0.attn.c_attn.weight"): "b81d4d735d0107c227a1616808df03ec",
    ("normal", 0, "layer.weight"): "3ede57f780f170caf2a9aa11b1503533",
    ("normal", 1, "layer.weight"): "bb13a9eadc1a8700f2028b1507c2cb8b",
    ("normal", -9223372036854775808, ""): "ce4c5ff46a9e42ca279afc1e1a85bf1a",
    ("normal", 42, "transformer.h.0.attn.c_attn.weight"): "6fb61be089c6b6a61d474df0f61f9820",
    ("truncated_normal", 0, "layer.weight"): "1e97fce6c455210a8801b33b2031a79f",
    ("truncated_normal", 1, "layer.weight"): "bfc9b1dd307615ca7794dd6d0a2d01fc",
    ("truncated_normal", -9223372036854775808, ""): "a8fef5191a451d2dce20e48e39b25101",
    ("truncated_normal", 42, "transformer.h.0.attn.c_attn.weight"): "04cba8cccacd517d1ee732cb239534b9",
}


@pytest.mark.parametrize(("kind", "seed", "name"), HASHES)
def test_the_bits_have_not_changed(kind, seed, name):
    drawn = getattr(Stream(seed, name), kind)(1000)
    assert sha256(drawn.astype("<f4").tobytes()).hexdigest()[:32] == HASHES[kind, seed, name]
