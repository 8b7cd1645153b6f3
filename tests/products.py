"""What a program multiplies."""

import collections
import re
from typing import Any

_PRODUCT = re.compile(
    r'stablehlo\.(?:dot_general|convolution)\b.* : \(tensor<(?:\d+x)*(\w+)>, tensor<(?:\d+x)*(\w+)>\)'
)


def products(jitted: Any, *arguments: Any) -> collections.Counter[str]:
    """Matrix products and convolutions of a jitted function on TPU, by the type of the smaller factor."""
    text = jitted.trace(*arguments).lower(lowering_platforms=('tpu',)).as_text()
    return collections.Counter(min(pair, key=('bf16', 'f32').index) for pair in _PRODUCT.findall(text))
