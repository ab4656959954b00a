"""Initialisation in place: drop-in for `torch.nn.init`, and by the names of the literature, Keras and JAX.

The values depend on the key and on an element's logical index only: not on strides, dtype, device or threads.
The key comes from `stream=`, else from `generator=`, else from torch's default generator, so
`torch.manual_seed` works and two calls differ. Tensors without elements are returned unchanged, and take no random
number; tensors on the meta device are refused. Of a sharded tensor each process writes what it holds, with the values
that the whole tensor would have.
"""

from evenflow.init.constant import constant_, ones_, zeros_
from evenflow.init.gains import calculate_gain
from evenflow.init.glorot import glorot_normal_, glorot_uniform_, xavier_normal_, xavier_uniform_
from evenflow.init.he import he_normal_, he_uniform_, kaiming_normal_, kaiming_uniform_
from evenflow.init.identity import dirac_, eye_
from evenflow.init.lecun import lecun_normal_, lecun_uniform_
from evenflow.init.orthogonal import delta_orthogonal_, orthogonal_
from evenflow.init.plain import normal_, random_normal_, random_uniform_, uniform_
from evenflow.init.sparse import sparse_
from evenflow.init.truncated import trunc_normal_, truncated_normal_
from evenflow.init.variance_scaling import variance_scaling_

__all__ = [
    "calculate_gain",
    "constant_",
    "delta_orthogonal_",
    "dirac_",
    "eye_",
    "glorot_normal_",
    "glorot_uniform_",
    "he_normal_",
    "he_uniform_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "lecun_normal_",
    "lecun_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "random_normal_",
    "random_uniform_",
    "sparse_",
    "trunc_normal_",
    "truncated_normal_",
    "uniform_",
    "variance_scaling_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]
