"""Faster inference: the same network in fewer and smaller convolutions.

The rule. Batch normalisation with fixed statistics, convolution, addition and concatenation
are linear. Everything that stands between two activations can therefore be written as one
sum of convolutions,

    sum over terms of (source convolved with kernel),

whose sources are tensors that were computed before. A further linear layer changes only the
kernels, and kernels are computed once per call of `refresh`, not once per image.

Example: `x = [2, 4, 6, 8]` is an image of 1x4 pixels with one channel, and the network
computes `x + convolution(normalisation(x))`.

- Normalisation with mean 4 and variance 4 is `0.5 x - 2`.
- The convolution has the kernel `[2, 4, 2]` and the bias 1. Applied to `0.5 x`, it is the
  kernel `[1, 2, 1]` applied to `x`. Applied to the constant -2, it gives -16 inside the image
  and -12 at both ends, where a part of the kernel meets the zero padding. With the bias:
  `[-11, -15, -15, -11]`.
- The addition appends a third term, `x` itself.

Three layers have become one convolution and two additions:

>>> import keras
>>> import numpy as np
>>> from kddim.backend import compile_step, to_numpy
>>> from kddim.networks.folding import FoldedNetwork
>>> images, variances = keras.Input((1, 4, 1)), keras.Input((1, 1, 1))
>>> normalisation = keras.layers.BatchNormalization(center=False, scale=False, epsilon=0.0)
>>> convolution = keras.layers.Conv2D(1, (1, 3), padding="same")
>>> outputs = keras.layers.Add()([convolution(normalisation(images)), images])
>>> network = keras.Model([images, variances], outputs)
>>> normalisation.set_weights([np.array([4.0]), np.array([4.0])])
>>> convolution.set_weights([np.reshape([2.0, 4.0, 2.0], (1, 3, 1, 1)), np.array([1.0])])

>>> folded = FoldedNetwork(network, compile_step)
>>> folded.refresh()
>>> kernel, constant = (to_numpy(weight.value) for weight in folded.weights)
>>> kernel.ravel().tolist()
[1.0, 2.0, 1.0]
>>> constant.ravel().tolist()
[-11.0, -15.0, -15.0, -11.0]
>>> x = np.reshape([2.0, 4.0, 6.0, 8.0], (1, 1, 4, 1))
>>> to_numpy(folded([x, np.zeros((1, 1, 1, 1))])).ravel().tolist()
[-1.0, 5.0, 15.0, 19.0]
>>> to_numpy(network([x, np.zeros((1, 1, 1, 1))], training=False)).ravel().tolist()
[-1.0, 5.0, 15.0, 19.0]

The cost. Folding two convolutions into one is possible if one of them is 1x1, and worthwhile
if the result needs no more multiplications per pixel than the two: a wide 1x1 convolution
after a narrow one folds, a narrow one before a wide one may not.

The noise level. Tensors that depend only on the noise variances are the same at every pixel
and, while sampling, for every image of a batch. They are computed once per batch, and a
convolution of such a tensor, tiled over the image, is one vector per batch (or one map, if
its kernel meets the padding).

Limits. These parts of a network are called as they are, with the same results and no gain:

- networks that are not functional, such as subclassed ones, and networks inside a network;
- convolutions of images whose height or width is unknown (`keras.Input((None, None, 3))`);
- strided, dilated, grouped and transposed convolutions, padding "valid", channels first;
- convolutions whose kernel is not a plain variable, as after `enable_lora` or quantisation;
- all other layers.

Invariants:

- The output equals that of the network with `training=False`, up to rounding.
- Two kernels are composed only if one of them is 1x1. With zero padding this is exact at the
  borders too.
- Kernels are computed in float32 and then rounded to the dtype of the layer that reads them.
  A sum is never rounded to half precision before a mean has been subtracted from it.
- No folded sum needs more multiplications per pixel than the layers that it replaces.
- Weights are read only in `refresh`, and no variable of the network is changed.
- An instruction reads only tensors that earlier instructions computed, and each tensor is
  released after the last instruction that reads it.

Modules, in the order in which they import each other: `network` runs a folded network,
`reader` reads the layers of a network, `rule` says which layers are linear, `cost` says
whether composing pays, `instructions` compute tensors, `sums` and `kernels` are the algebra.
"""

from kddim.networks.folding.network import FoldedNetwork

__all__ = ["FoldedNetwork"]
