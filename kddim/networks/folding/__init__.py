"""What a network computes when it samples, in fewer and smaller convolutions."""

from kddim.networks.folding.network import FoldedNetwork

__all__ = ["FoldedNetwork"]
