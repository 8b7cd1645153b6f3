"""E-Branchformer against its equations in PyTorch, and its size against the published one."""

import jax
import numpy as np
import torch
from torch.nn import functional as F

from bljust_jax.config import EBranchformerConfig
from bljust_jax.models.e_branchformer import EBranchformerBlock, e_branchformer
from tests.params import number_of_parameters, random_params

WIDTH, HEADS = 8, 2
CONFIG = EBranchformerConfig(
    width=WIDTH, heads=HEADS, expansion=2, gate_expansion=3, kernel=5, merge_kernel=3, positions='none'
)
LENGTHS = np.array([11, 6], np.int32)


def block(params, x):
    """The equations of arXiv 2210.00077, section 3, on one row `[time, width]`."""
    x = x + feed_forward(params['FeedForward_0'], x) / 2
    branches = torch.cat([attention(params['SelfAttention_0'], x), gating_mlp(params['GatingMLP_0'], x)], dim=-1)
    x = x + dense(params['Dense_0'], branches + depthwise(params['DepthwiseConv_0'], branches))
    x = x + feed_forward(params['FeedForward_1'], x) / 2
    return norm(params['LayerNorm_0'], x)


def gating_mlp(params, x):
    a, b = F.gelu(dense(params['Dense_0'], norm(params['LayerNorm_0'], x))).chunk(2, dim=-1)
    return dense(params['Dense_1'], a * depthwise(params['DepthwiseConv_0'], norm(params['LayerNorm_1'], b)))


def feed_forward(params, x):
    return dense(params['Dense_1'], F.silu(dense(params['Dense_0'], norm(params['LayerNorm_0'], x))))


def attention(params, x):
    inner, outer = params['DenseGeneral_0'], params['DenseGeneral_1']
    heads = torch.einsum('tw,whs->hts', norm(params['LayerNorm_0'], x), inner['kernel']) + inner['bias'][:, None]
    attended = F.scaled_dot_product_attention(*heads.chunk(3, dim=-1))
    return torch.einsum('hts,hsw->tw', attended, outer['kernel']) + outer['bias']


def dense(params, x):
    return x @ params['kernel'] + params['bias']


def norm(params, x):
    return F.layer_norm(x, x.shape[-1:], params['scale'], params['bias'], eps=1e-6)


def depthwise(params, x):
    kernel = params['kernel']
    padding, groups = len(kernel) // 2, kernel.shape[1]
    return F.conv1d(x.T[None], kernel.T[:, None], params['bias'], padding=padding, groups=groups)[0].T


def test_a_block_equals_its_equations_in_float64():
    x = np.random.default_rng(0).normal(size=(2, 11, WIDTH)).astype(np.float32)
    module = EBranchformerBlock(CONFIG)
    variables = random_params(jax.eval_shape(lambda: module.init(jax.random.key(0), x, LENGTHS, False)))
    result = jax.jit(module.apply, static_argnums=3)(variables, x, LENGTHS, False)
    exact = jax.tree.map(lambda leaf: torch.tensor(leaf, dtype=torch.float64), variables['params'])
    for row, ours, length in zip(x, result, LENGTHS, strict=True):
        expected = block(exact, torch.tensor(row[:length], dtype=torch.float64))
        np.testing.assert_allclose(ours[:length], expected, atol=2e-5)


def test_has_the_published_number_of_parameters():
    """148.92 M, which is that of a recogniser of 5000 pieces with relative positions and a decoder of 6 layers."""
    layers, d, vocabulary = 17, 512, 5000
    config = EBranchformerConfig(layers=layers, width=d, heads=8, channels=d)
    ours = number_of_parameters(e_branchformer(config))
    relative_positions = layers * (d**2 + 2 * d)
    one_dimensional = (5 * 80 + 1) * d + (5 * d + 1) * d + (d + 1) * d
    two_dimensional = (3 * 3 + 1) * d + (9 * d + 1) * d + (19 * d + 1) * d
    final_norm = 2 * d
    decoder_layer = 2 * (4 * d * (d + 1)) + (d + 1) * 4 * d + (4 * d + 1) * d + 3 * 2 * d
    decoder = vocabulary * d + 6 * decoder_layer + 2 * d + (d + 1) * vocabulary
    ctc = (d + 1) * vocabulary
    published = ours + relative_positions + two_dimensional - one_dimensional + final_norm + decoder + ctc
    assert round(published / 1e6, 2) == 148.92
