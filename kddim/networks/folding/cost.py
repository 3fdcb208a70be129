"""The cost that decides whether folding pays, in multiplications per pixel."""

from kddim.networks.folding.kernels import Kernel
from kddim.networks.folding.sums import Sum


def composing_pays(total: Sum, kernel: Kernel, num_readers: int) -> bool:
    """Return True if convolving the sources directly costs no more than in two steps.

    The two steps are: compute `total`, then convolve the result with `kernel`. A single step
    convolves each source with a composed kernel, which is as large as the larger of the two.

    Args:
        total: Sum that the convolution reads.
        kernel: Kernel of the convolution.
        num_readers: Number of layers that read `total`. With several readers, `total` may be
            computed for another one anyway, so its cost counts as zero.
    """
    filters = kernel.shape[3]
    one_step = sum(
        term.source.channels * max(term.kernel.taps, kernel.taps) * filters for term in total.images
    )
    multiplications = sum(term.kernel.multiplications for term in total.images)
    first_step = multiplications if num_readers == 1 else 0
    return one_step <= first_step + total.channels * kernel.taps * filters


def repeating_pays(total: Sum) -> bool:
    """Return True if each reader of a sum should read the sources of the sum instead.

    This pays for a sum of 1x1 convolutions that has more channels than its sources. Reading
    the sources then costs less than reading the sum, and the sum itself is never computed.
    """
    num_inputs = sum(term.source.channels for term in total.images)
    return total.pointwise and num_inputs < total.channels
