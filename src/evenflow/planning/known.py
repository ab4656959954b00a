"""The torch functions between layers whose effect on a signal a plan takes into account or may ignore."""

# Elementwise arithmetic and everything that only moves, copies, picks or averages values.
_ARITHMETIC = """
__abs__ __add__ __and__ __div__ __eq__ __floordiv__ __ge__ __gt__ __iadd__ __idiv__ __imul__ __invert__ __isub__
__itruediv__ __le__ __lt__ __mod__ __mul__ __ne__ __neg__ __or__ __pow__ __radd__ __rdiv__ __rmul__ __rpow__ __rsub__
__rtruediv__ __sub__ __truediv__ __xor__ abs absolute add add_ addcdiv addcmul atan atan2 bitwise_and bitwise_not
bitwise_or ceil clamp clamp_max clamp_min clip complex cos cosh div div_ divide dot eq exp exp2 exp_ expm1 floor
floor_divide fmod ge gt imag isfinite isinf isnan le lerp log log1p log2 logaddexp logical_and logical_not logical_or
lt masked_fill masked_fill_ masked_scatter maximum minimum mul mul_ multiply nan_to_num ne neg neg_ negative outer
polar pow pow_ real reciprocal remainder round rsqrt sign sin sinh sqrt sqrt_ square square_ sub sub_ subtract tan
true_divide where
"""
_SHAPE = """
__contains__ __get__ __getitem__ __iter__ __len__ __setitem__ _pack_padded_sequence _pad_packed_sequence affine_grid
argmax argmin argsort as_strided atleast_1d atleast_2d atleast_3d bernoulli bernoulli_ bfloat16 bincount bool
broadcast_tensors broadcast_to bucketize cartesian_prod cat channel_shuffle chunk clone concat concatenate conj
constant_pad_nd contiguous copy_ cpu cuda cummax cumsum detach detach_ diag diag_embed diagonal dim double dstack
empty_like expand expand_as fill_ flatten flip float fold full_like gather grid_sample half hstack index_add
index_add_ index_copy index_copy_ index_put index_put_ index_select int interpolate is_complex is_floating_point item
long masked_select meshgrid moveaxis movedim multinomial narrow new_empty new_full new_ones new_tensor new_zeros
nonzero normal_ numel numpy numpy_T one_hot ones_like pack_padded_sequence pad pad_packed_sequence pad_sequence
permute pixel_shuffle pixel_unshuffle rand rand_like randn_like random_ ravel register_hook repeat repeat_interleave
requires_grad_ reshape reshape_as resolve_conj retain_grad roll rot90 scatter scatter_ scatter_add scatter_add_
searchsorted select shape size sort split split_with_sizes squeeze stack swapaxes swapdims t take take_along_dim
tensor_split tile to tolist topk transpose tril tril_ triu triu_ type type_as unbind unflatten unfold uniform_ unique
unsafe_chunk unsafe_split unsqueeze upsample view view_as view_as_complex view_as_real vstack zero_ zeros_like
"""
_POOLING = """
adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool1d_with_indices
adaptive_max_pool2d adaptive_max_pool2d_with_indices adaptive_max_pool3d adaptive_max_pool3d_with_indices all allclose
amax amin any avg_pool1d avg_pool2d avg_pool3d boolean_dispatch cdist cosine_similarity count_nonzero cummin equal
fractional_max_pool2d index_reduce linalg_norm linalg_vector_norm local_response_norm logsumexp lp_pool1d lp_pool2d
max max_pool1d max_pool1d_with_indices max_pool2d max_pool2d_with_indices max_pool3d max_pool3d_with_indices
max_unpool2d mean median min nanmean nansum norm normalize pairwise_distance prod scatter_reduce segment_reduce std
std_mean sum var var_mean vector_norm
"""
_ATTENTION = """
__matmul__ __rmatmul__ _native_multi_head_attention _scaled_dot_product_attention_math addmm baddbmm bmm einsum
gumbel_softmax inner kron log_softmax matmul mm multi_head_attention_forward mv scaled_dot_product_attention softmax
softmin tensordot
"""
_LOSS = """
binary_cross_entropy binary_cross_entropy_with_logits cosine_embedding_loss cross_entropy ctc_loss huber_loss kl_div
l1_loss mse_loss nll_loss nll_loss_nd smooth_l1_loss triplet_margin_loss
"""
_DROPOUT = """
alpha_dropout alpha_dropout_ dropout dropout1d dropout2d dropout3d dropout_ feature_alpha_dropout
feature_alpha_dropout_ feature_dropout feature_dropout_ native_dropout
"""
_ACTIVATIONS = """
celu celu_ elu elu_ erf erf_ gelu gelu_ glu hardshrink hardsigmoid hardsigmoid_ hardswish hardtanh hardtanh_
leaky_relu leaky_relu_ logsigmoid mish mish_ prelu relu relu6 relu_ rrelu rrelu_ selu selu_ sigmoid sigmoid_ silu
silu_ sin softplus softshrink softsign special_erf special_expit tanh tanh_ tanhshrink threshold threshold_
"""
_PLUMBING = """
__bool__ __deepcopy__ __float__ __format__ __hash__ __int__ __repr__ _assert _assert_async apply_ backward
broadcast_shapes data_ptr element_size finfo get_device has_torch_function is_contiguous is_nonzero is_same_size
is_tracing map_ ndimension nelement promote_types record_stream result_type storage_offset stride type_promotion
"""

KNOWN = frozenset(
    " ".join((_ARITHMETIC, _SHAPE, _POOLING, _ATTENTION, _LOSS, _DROPOUT, _ACTIVATIONS, _PLUMBING)).split()
)
