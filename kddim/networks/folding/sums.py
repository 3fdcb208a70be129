"""Sums of convolutions: what stands between two activations of a network.

Convolutions, additions, concatenations and normalisations with fixed statistics are all
linear. Until something else needs their result, it is written as
`sum over terms of (source convolved with kernel)`, and a further linear layer changes the
kernels alone.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

from kddim.networks.folding import kernels
from kddim.networks.folding.kernels import Kernel


@dataclasses.dataclass(frozen=True)
class Source:
    """A tensor that is computed.

    Attributes:
        key: what it is known by; 0 is the number 1.
        channels: how many.
        uniform: `(batch, 1, 1, channels)`, the same at every position of the image.
    """

    key: int
    channels: int
    uniform: bool = False


ONE = Source(0, 1, uniform=True)


@dataclasses.dataclass(frozen=True, eq=False)
class Term:
    """A source convolved with a kernel, padding "same".

    Attributes:
        source: `(batch, height, width, channels)`, or uniform.
        kernel: `(rows, columns, channels, filters)`.
    """

    source: Source
    kernel: Kernel

    @property
    def is_large(self) -> bool:
        return not self.source.uniform

    @property
    def multiplications(self) -> int:
        """A position, of the convolution that the term stands for."""
        return (
            0
            if self.kernel.identity
            else self.kernel.taps * self.kernel.shape[2] * self.kernel.shape[3]
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Sum:
    """`sum of terms`, an image of `size` with `channels`, computed in `dtype`."""

    size: tuple[int, int]
    channels: int
    dtype: str
    terms: tuple[Term, ...]

    @property
    def pointwise(self) -> bool:
        """Whether no kernel reaches beyond a position: then any kernel may follow."""
        return all(term.kernel.taps == 1 for term in self.terms)

    @property
    def is_source(self) -> bool:
        """Whether it is a tensor as it stands."""
        return len(self.terms) == 1 and self.terms[0].kernel.identity

    @property
    def inputs(self) -> int:
        """Channels of all sources that are images."""
        return sum(term.source.channels for term in self.terms if term.is_large)

    @property
    def multiplications(self) -> int:
        return sum(term.multiplications for term in self.terms if term.is_large)

    def convolved(self, kernel: Kernel, dtype: str) -> "Sum":
        """Followed by a convolution, without bias; only where one of the two is pointwise."""
        terms = (Term(term.source, kernels.compose(term.kernel, kernel)) for term in self.terms)
        return Sum(self.size, kernel.shape[3], dtype, merged(terms))

    def scaled(self, vector: Kernel, dtype: str) -> "Sum":
        """Times a number a channel."""
        terms = (Term(term.source, kernels.scaled(term.kernel, vector)) for term in self.terms)
        return Sum(self.size, self.channels, dtype, tuple(terms))

    def shifted(self, vector: Kernel) -> "Sum":
        """Plus a number a channel."""
        terms = merged([*self.terms, Term(ONE, vector)])
        return Sum(self.size, self.channels, self.dtype, terms)


def of_source(source: Source, size: tuple[int, int], dtype: str) -> Sum:
    """A source as it stands."""
    term = Term(source, kernels.identity(source.channels))
    return Sum(size, source.channels, dtype, (term,))


def added(parts: list[Sum], dtype: str) -> Sum:
    terms = merged(term for part in parts for term in part.terms)
    return Sum(parts[0].size, parts[0].channels, dtype, terms)


def concatenated(parts: list[Sum], dtype: str) -> Sum:
    """Side by side along the channels."""
    total, before = sum(part.channels for part in parts), 0
    terms = []
    for part in parts:
        after = total - before - part.channels
        terms += [
            Term(term.source, kernels.placed(term.kernel, before, after)) for term in part.terms
        ]
        before += part.channels
    return Sum(parts[0].size, total, dtype, merged(terms))


def merged(terms: Iterable[Term]) -> tuple[Term, ...]:
    """Terms of one source and one shape of kernel as one; sources as they stand are left."""
    found: dict[Any, Term] = {}
    for term in terms:
        same = (term.source, term.kernel.shape[:2])
        key: Any = object() if term.kernel.identity else same
        if key in found:
            term = Term(term.source, kernels.summed(found[key].kernel, term.kernel))
        found[key] = term
    return tuple(found.values())
