"""Conformer and FastConformer against PyTorch models that others wrote, and their sizes against the published ones."""

import functools
import importlib.util
import sys

import jax
import numpy as np
import pytest
import torch

from bljust_jax.config import ConformerConfig, FastConformerConfig
from bljust_jax.models.conformer import ConformerBlock, conformer, fast_conformer
from bljust_jax.models.stack import Stack
from tests.models.torch_weights import attention, dense, depthwise, feed_forward, norm, numpy, randomised
from tests.params import number_of_parameters

WIDTH, HEADS, EXPANSION, KERNEL, LAYERS = 16, 2, 2, 5, 2
LENGTHS = np.array([41, 30, 3], np.int32)
SIZES = {
    'layers': LAYERS,
    'width': WIDTH,
    'heads': HEADS,
    'expansion': EXPANSION,
    'kernel': KERNEL,
    'positions': 'none',
}


def rows(width):
    """Rows of `LENGTHS` frames in a batch whose padding is not zero, `[batch, time, width]`."""
    return np.random.default_rng(0).normal(size=(len(LENGTHS), LENGTHS.max(), width)).astype(np.float32)


def difference(ours, theirs):
    """The largest of the valid frames."""
    return max(np.abs(np.asarray(a)[: len(b)] - b).max() for a, b in zip(ours, theirs, strict=True))


def torchaudio_conformer():
    """Its class, from its file: the package's libraries may be of another PyTorch, and this file needs none of them."""
    package = importlib.util.find_spec('torchaudio')
    if package is None:
        pytest.skip('torchaudio is not installed')
    path = f'{package.submodule_search_locations[0]}/models/conformer.py'
    spec = importlib.util.spec_from_file_location('torchaudio_conformer', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Conformer


def test_equals_torchaudio_on_the_same_weights():
    """Without positions and with one group, which normalises over all channels and frames. Ours are rows of a batch.

    Theirs are alone: in a batch their convolutions and group norms see padding, which ours do not.
    """
    theirs = randomised(
        torchaudio_conformer()(WIDTH, HEADS, EXPANSION * WIDTH, LAYERS, KERNEL, use_group_norm=True),
    )
    weights = {}
    for index, layer in enumerate(theirs.conformer_layers):
        first, second = (ffn.sequential for ffn in (layer.ffn1, layer.ffn2))
        project = layer.self_attn
        gated, _, over_time, group_norm, _, output, _ = layer.conv_module.sequential
        weights[f'block_{index}'] = {
            'FeedForward_0': feed_forward(first[0], first[1], first[4]),
            'SelfAttention_0': attention(
                layer.self_attn_layer_norm, project.in_proj_weight, project.in_proj_bias, project.out_proj, HEADS
            ),
            'ConvModule_0': {
                'LayerNorm_0': norm(layer.conv_module.layer_norm),
                'Dense_0': dense(gated),
                'DepthwiseConv_0': depthwise(over_time),
                'GroupNorm_0': norm(group_norm),
                'Dense_1': dense(output),
            },
            'FeedForward_1': feed_forward(second[0], second[1], second[4]),
            'LayerNorm_0': norm(layer.final_layer_norm),
        }
    x = rows(WIDTH)
    expected = [
        numpy(theirs(torch.tensor(row[None, :length]), torch.tensor([length]))[0][0])
        for row, length in zip(x, LENGTHS, strict=True)
    ]
    stack = Stack(ConformerBlock, ConformerConfig(**SIZES, norm='group', groups=1))
    hidden, _ = jax.jit(stack.apply, static_argnums=3)({'params': weights}, x, LENGTHS, False)
    assert difference(hidden, expected) < 1e-4


@functools.cache
def parakeet():
    """The FastConformer of Hugging Face's transformers, and its configuration."""
    with pytest.MonkeyPatch.context() as patch:
        # transformers imports it where it is installed, and its libraries may be of another PyTorch.
        patch.setitem(sys.modules, 'torchaudio', None)
        module = pytest.importorskip('transformers.models.parakeet.modeling_parakeet')
    return module.ParakeetEncoder, module.ParakeetEncoderConfig


class ChannelNorm(torch.nn.LayerNorm):
    """LayerNorm over the second axis."""

    def forward(self, x):
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


def test_fast_conformer_equals_transformers_on_the_same_weights():
    """From features to hidden frames, in a padded batch. Theirs without what ours has not.

    Batch statistics, for which layer norms are put, and relative positions, whose products are set to zero.
    """
    encoder, config = parakeet()
    mels, channels = 16, 4
    theirs = encoder(
        config(
            hidden_size=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            intermediate_size=EXPANSION * WIDTH,
            conv_kernel_size=KERNEL,
            subsampling_conv_channels=channels,
            num_mel_bins=mels,
            scale_input=False,
        )
    )
    for layer in theirs.layers:
        layer.conv.norm = ChannelNorm(WIDTH)
    randomised(theirs)
    weights = {'frontend': subsampling(theirs.subsampling, channels), 'context': {}}
    for index, layer in enumerate(theirs.layers):
        project, conv = layer.self_attn, layer.conv
        for tensor in (project.relative_k_proj.weight, project.bias_u):
            torch.nn.init.zeros_(tensor)
        sides = project.q_proj, project.k_proj, project.v_proj
        weight, bias = torch.cat([side.weight for side in sides]), torch.cat([side.bias for side in sides])
        first, second = layer.feed_forward1, layer.feed_forward2
        weights['context'][f'block_{index}'] = {
            'FeedForward_0': feed_forward(layer.norm_feed_forward1, first.linear1, first.linear2),
            'SelfAttention_0': attention(layer.norm_self_att, weight, bias, project.o_proj, HEADS),
            'ConvModule_0': {
                'LayerNorm_0': norm(layer.norm_conv),
                'Dense_0': dense(conv.pointwise_conv1),
                'DepthwiseConv_0': depthwise(conv.depthwise_conv),
                'LayerNorm_1': norm(conv.norm),
                'Dense_1': dense(conv.pointwise_conv2),
            },
            'FeedForward_1': feed_forward(layer.norm_feed_forward2, second.linear1, second.linear2),
            'LayerNorm_0': norm(layer.norm_out),
        }
    features = rows(mels)
    mask = torch.arange(features.shape[1])[None] < torch.tensor(LENGTHS)[:, None]
    expected = numpy(theirs(torch.tensor(features), attention_mask=mask).last_hidden_state)
    ours = fast_conformer(FastConformerConfig(**SIZES, channels=channels))
    hidden, lengths = jax.jit(ours.apply, static_argnums=3)({'params': weights}, features, LENGTHS, False)
    assert lengths.tolist() == [6, 4, 1]
    assert difference(hidden, [row[:length] for row, length in zip(expected, lengths, strict=True)]) < 1e-4


def subsampling(module, channels):
    """Weights of the front end; its last layer's inputs are channels of mels there, and mels of channels here."""
    first, _, *convolutions = module.layers
    kernel = numpy(module.linear.weight)
    kernel = kernel.reshape(len(kernel), channels, -1).transpose(2, 1, 0).reshape(-1, len(kernel))
    return {
        'Conv_0': {'kernel': numpy(first.weight).transpose(2, 3, 1, 0), 'bias': numpy(first.bias)},
        'StridedDepthwiseConv_0': depthwise(convolutions[0]),
        'Dense_0': dense(convolutions[1]),
        'StridedDepthwiseConv_1': depthwise(convolutions[3]),
        'Dense_1': dense(convolutions[4]),
        'Dense_2': {'kernel': kernel, 'bias': numpy(module.linear.bias)},
    }


@pytest.mark.parametrize(
    ('layers', 'width', 'kernel', 'released'),
    # As published; in bytes of float32, which tell more digits: the files of the released CTC models.
    [(18, 512, 9, 463e6), (24, 1024, 9, 2.44e9), (42, 1024, 5, 4.25e9)],
    ids=['large', 'xlarge', 'xxlarge'],
)
def test_fast_conformer_has_the_published_number_of_parameters(layers, width, kernel, released):
    """The released models have relative positions, too, and a head for 1024 pieces and the blank."""
    encoder, config = parakeet()
    with torch.device('meta'):
        theirs = encoder(
            config(hidden_size=width, num_hidden_layers=layers, intermediate_size=4 * width, conv_kernel_size=kernel)
        )
    expected = sum(parameter.numel() for parameter in theirs.parameters())
    assert 4 * (expected + 1025 * (width + 1)) == pytest.approx(released, rel=2e-3)
    config = FastConformerConfig(layers=layers, width=width, heads=8, kernel=kernel)
    relative_positions = layers * (width**2 + 2 * width)
    assert number_of_parameters(fast_conformer(config)) == expected - relative_positions


def counted(config, mels=80):
    """Number of parameters of the architecture as published, with rotary positions and 1-d subsampling."""
    d, e, c = config.width, config.expansion * config.width, config.channels
    norm, feed_forward = 2 * d, (d + 1) * e + (e + 1) * d
    attention = (d + 1) * 3 * d + (d + 1) * d
    convolution = (d + 1) * 2 * d + (config.kernel + 1) * d + norm + (d + 1) * d
    block = 2 * (norm + feed_forward) + (norm + attention) + (norm + convolution) + norm
    return (5 * mels + 1) * c + (5 * c + 1) * c + (c + 1) * d + config.layers * block


@pytest.mark.parametrize(
    ('layers', 'd', 'heads', 'decoder', 'published'),
    [(16, 144, 4, 320, 10.3e6), (16, 256, 4, 640, 30.7e6), (17, 512, 8, 640, 118.8e6)],
    ids=['small', 'medium', 'large'],
)
def test_conformer_has_the_published_number_of_parameters(layers, d, heads, decoder, published):
    """In 6%: the paper says neither how its transducer joins encoder and decoder nor what its front end is.

    Added to ours are relative positions, two-dimensional subsampling, and an LSTM, its embeddings and a joint network
    of its width for 1024 pieces and the blank.
    """
    config = ConformerConfig(layers=layers, width=d, heads=heads, kernel=31, channels=d)
    ours = number_of_parameters(conformer(config))
    assert ours == counted(config)
    relative_positions = layers * (d**2 + 2 * d)
    one_dimensional = (5 * 80 + 1) * d + (5 * d + 1) * d + (d + 1) * d
    two_dimensional = (3 * 3 + 1) * d + (9 * d + 1) * d + (20 * d + 1) * d
    lstm = 1025 * decoder + 4 * (2 * decoder + 1) * decoder
    joint = (d + 1) * decoder + (decoder + 1) * decoder + (decoder + 1) * 1025
    whole = ours + relative_positions + two_dimensional - one_dimensional + lstm + joint
    assert whole == pytest.approx(published, rel=0.06)
