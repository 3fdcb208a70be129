"""Shards: equal parts of a number of images, for the processes of a job array."""

import dataclasses
import re

from kddim.checks import check_count

_MOST = 100_000  # shards of one sample


@dataclasses.dataclass(frozen=True)
class Shard:
    """One of several equal parts of a number of images.

    Args:
        index: Number of the part, from 1 to `count`.
        count: Number of parts.
    """

    index: int
    count: int

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
        if isinstance(pair, str) or len(pair) != 2 or not 1 <= pair[0] <= pair[1] <= _MOST:
            raise ValueError(
                f"Expected a shard I/N with I from 1 to N, and N of at most {_MOST:,}. Received: "
                f"{value!r}. 2/8 is the second eighth."
            )
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
