"""Shards: equal parts of a number of images, for the processes of a job array."""

import dataclasses
import re

from kddim.checks import check_count, is_integer

_MOST = 100_000  # shards of one sample


@dataclasses.dataclass(frozen=True)
class Shard:
    """One of several equal parts of a number of images.

    Args:
        index: Number of the part, from 1 to `count`.
        count: Number of parts, at most 100,000.

    Raises:
        ValueError: If a number is out of range.
    """

    index: int
    count: int

    def __post_init__(self):
        valid = is_integer(self.index) and is_integer(self.count)
        if not valid or not 1 <= self.index <= self.count <= _MOST:
            raise _refused(f"{self.index!r}/{self.count!r}")

    @classmethod
    def of(cls, value: "Shard | str | tuple[int, int]") -> "Shard":
        """Return a shard from text such as "2/8", from a pair of ints, or from itself.

        Raises:
            ValueError: If it is none, or if the index is not between 1 and the count.
        """
        if isinstance(value, Shard):
            return value
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", value) if isinstance(value, str) else None
        pair = tuple(map(int, found.groups())) if found else value
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise _refused(repr(value))
        return cls(*pair)

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def rows(self, total: int) -> range:
        """Return the numbers of the images of this shard.

        Args:
            total: Number of images of all shards together, at least one per shard.

        Raises:
            ValueError: If a shard would be empty.
        """
        check_count("num_images", total)
        if total < self.count:
            raise ValueError(
                f"Expected at least one image per shard. Received: {total} images in {self.count} "
                f"shards. Use at most {total} shards, or more --num-images."
            )
        return range(total * (self.index - 1) // self.count, total * self.index // self.count)

    def siblings(self) -> "list[Shard]":
        """Return all shards of the same images, this one included."""
        return [Shard(index, self.count) for index in range(1, self.count + 1)]


def _refused(received: str) -> ValueError:
    return ValueError(
        f"Expected a shard I/N with I from 1 to N, and N of at most {_MOST:,}. Received: "
        f"{received}. 2/8 is the second eighth."
    )
