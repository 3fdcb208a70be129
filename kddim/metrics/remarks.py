"""What users should know of a figure: sentences that stand in logs and beside scores."""

from kddim.metrics.protocols import SUBSET_SIZE

FEW = 2048  # images below which no FID is worth much, whatever the encoder


def subset_size(smaller: int, protocol: str) -> int:
    """Images a subset of KID has: 1,000, or half of the smaller set where that is fewer.

    "standard" keeps to the literature's 1,000 wherever there are so many. Elsewhere
    subsets of almost all images would be almost the same, and deviate by nothing.
    """
    if protocol == "standard" and smaller >= SUBSET_SIZE:
        return SUBSET_SIZE
    return min(SUBSET_SIZE, smaller // 2)


def kid_remarks(protocol: str, smaller: int) -> list[str]:
    """What is odd about a KID.

    Args:
        protocol: its name.
        smaller: images of the smaller set.
    """
    if protocol != "standard" or not 4 <= smaller < 2 * SUBSET_SIZE:
        return []
    if smaller >= SUBSET_SIZE:
        return [
            f"subsets of {SUBSET_SIZE:,} of {smaller:,} images share most of them: the deviation "
            "between them is too small"
        ]
    return [
        f"KID by the standard protocol wants at least {SUBSET_SIZE:,} images a side; of "
        f"{smaller} it takes subsets of {subset_size(smaller, protocol)}"
    ]


def fid_remarks(smaller: int, width: int | None) -> list[str]:
    """What is odd about a FID.

    Args:
        smaller: images of the smaller set.
        width: features an image has, where it is known.
    """
    wanted = max(FEW, width or 0)
    if not 2 <= smaller < wanted:
        return []
    return [
        f"FID of {smaller:,} images is biased upwards: take at least {wanted:,} a "
        "side, or KID, and compare only values of equally many images"
    ]
