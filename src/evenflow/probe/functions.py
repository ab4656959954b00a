"""What the torch functions mean to a tracer: which apply weights, which normalise, which join paths."""

LINEAR = {
    "linear", "bilinear", "matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "mv", "addmm", "baddbmm", "addbmm",
    "einsum", "tensordot", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
}  # fmt: skip

EMBEDDING = {"embedding", "embedding_bag"}

NORM = {"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"}

OPAQUE = {
    "lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell",
    "multi_head_attention_forward",
}  # fmt: skip

# Several paths come together: what only one of them passed has a way around it.
JOIN = {
    "add", "add_", "__add__", "__radd__", "__iadd__", "sub", "sub_", "__sub__", "__rsub__", "__isub__", "cat", "concat",
    "concatenate", "stack", "hstack", "vstack", "lerp",
}  # fmt: skip


def role_of(function: str) -> str | None:
    """The role of a function that makes a layer of its own; None for all others."""
    if function in LINEAR:
        return "weight"
    if function in EMBEDDING:
        return "embedding"
    if function in NORM:
        return "norm"
    return "opaque" if function in OPAQUE else None


def units_first(function: str) -> bool:
    """Whether the function's units lie in dimension 1 (convolutions, batch norm) and not in the last one."""
    return function.startswith("conv") or function in ("batch_norm", "group_norm", "instance_norm")
