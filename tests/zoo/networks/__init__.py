"""Small networks of every kind that is in use, each with a batch."""

from networks import convolutional, plain, sequences
from networks.network import Network

NETWORKS = {network.name: network for part in (plain, convolutional, sequences) for network in part.NETWORKS}

__all__ = ["NETWORKS", "Network"]
