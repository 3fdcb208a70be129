"""Sums of convolutions, the form that folding gives to linear layers.

The output of convolutions, additions, concatenations and normalisations with fixed statistics
is written as `sum over terms of (source convolved with kernel)`. A further linear layer
changes only the kernels; nothing is computed until another kind of layer reads the result.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

from kddim.networks.folding import kernels
from kddim.networks.folding.kernels import Kernel


@dataclasses.dataclass(frozen=True)
class Source:
    """A tensor that an instruction computes, or an input of the network.

    Attributes:
        key: Key of the tensor: the `id` of its symbolic tensor, or 0 for the constant 1.
        channels: Number of channels.
        uniform: True for a tensor `(batch, 1, 1, channels)` that stands for an image with
            these values at every pixel.
    """

    key: int
    channels: int
    uniform: bool = False


ONE = Source(0, 1, uniform=True)


@dataclasses.dataclass(frozen=True, eq=False)
class Term:
    """A source convolved with a kernel, with padding "same" and stride 1.

    Attributes:
        source: Tensor of shape `(batch, height, width, channels)`, or a uniform one.
        kernel: Kernel of shape `(rows, columns, channels, filters)`.
    """

    source: Source
    kernel: Kernel


@dataclasses.dataclass(frozen=True, eq=False)
class Sum:
    """The image `sum over terms of (source convolved with kernel)`.

    Attributes:
        size: Height and width in pixels.
        channels: Number of channels.
        dtype: Dtype that the image is computed in.
        terms: Terms of the sum, at least one.
    """

    size: tuple[int, int]
    channels: int
    dtype: str
    terms: tuple[Term, ...]

    @property
    def pointwise(self) -> bool:
        """True if all kernels are 1x1, so that a convolution of any size may follow."""
        return all(term.kernel.taps == 1 for term in self.terms)

    @property
    def is_source(self) -> bool:
        """True if the sum is a single tensor, unchanged."""
        return len(self.terms) == 1 and self.terms[0].kernel.identity

    @property
    def images(self) -> list[Term]:
        """Terms whose source is an image, and not the same at every pixel."""
        return [term for term in self.terms if not term.source.uniform]

    def convolved(self, kernel: Kernel, dtype: str) -> "Sum":
        """Return the convolution of this sum, without bias.

        Either this sum must be pointwise, or `kernel` must be 1x1.

        Args:
            kernel: Kernel of the convolution.
            dtype: Dtype that the result is computed in.
        """
        terms = (Term(term.source, kernels.compose(term.kernel, kernel)) for term in self.terms)
        return Sum(self.size, kernel.shape[3], dtype, merged(terms))

    def scaled(self, vector: Kernel, dtype: str) -> "Sum":
        """Return this sum times a vector of one number per channel."""
        terms = (Term(term.source, kernels.scaled(term.kernel, vector)) for term in self.terms)
        return Sum(self.size, self.channels, dtype, tuple(terms))

    def shifted(self, vector: Kernel) -> "Sum":
        """Return this sum plus a vector of one number per channel."""
        terms = merged([*self.terms, Term(ONE, vector)])
        return Sum(self.size, self.channels, self.dtype, terms)


def of_source(source: Source, size: tuple[int, int], dtype: str) -> Sum:
    """Return the sum whose only term is an unchanged source."""
    term = Term(source, kernels.identity(source.channels))
    return Sum(size, source.channels, dtype, (term,))


def added(parts: list[Sum], dtype: str) -> Sum:
    """Return the sum of images of the same size and number of channels."""
    terms = merged(term for part in parts for term in part.terms)
    return Sum(parts[0].size, parts[0].channels, dtype, terms)


def concatenated(parts: list[Sum], dtype: str) -> Sum:
    """Return the concatenation of images of the same size along their channels."""
    total, before = sum(part.channels for part in parts), 0
    terms: list[Term] = []
    for part in parts:
        terms += [Term(t.source, kernels.placed(t.kernel, before, total)) for t in part.terms]
        before += part.channels
    return Sum(parts[0].size, total, dtype, merged(terms))


def merged(terms: Iterable[Term]) -> tuple[Term, ...]:
    """Return the terms with those of the same source and kernel size added up.

    Terms with an identity kernel stay apart, because adding their sources needs no convolution.
    """
    found: dict[Any, Term] = {}
    for term in terms:
        same = (term.source, term.kernel.shape[:2])
        key: Any = object() if term.kernel.identity else same
        if key in found:
            term = Term(term.source, kernels.summed(found[key].kernel, term.kernel))
        found[key] = term
    return tuple(found.values())
