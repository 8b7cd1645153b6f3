import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from bljust_jax.config import TransformerConfig
from bljust_jax.models.transformer import TransformerContext, transformer

BATCH, TIME = 4, 21
LENGTHS = np.array([21, 13, 2, 7])
NORMS = pytest.mark.parametrize('norm', ['post', 'pre'])


@pytest.fixture(scope='module')
def wav2vec2():
    """The modules of transformers, which would import torchaudio, and that may be built for another PyTorch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, 'torchaudio', None)
        from transformers.models.wav2vec2 import modeling_wav2vec2
    return modeling_wav2vec2


def reference(wav2vec2, config):
    """Hugging Face's encoder of the same sizes, in evaluation mode, with all of its parameters drawn."""
    torch.manual_seed(0)
    form = {'post': wav2vec2.Wav2Vec2Encoder, 'pre': wav2vec2.Wav2Vec2EncoderStableLayerNorm}[config.norm]
    module = form(
        wav2vec2.Wav2Vec2Config(
            hidden_size=config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=config.expansion * config.width,
            num_conv_pos_embeddings=config.kernel,
            num_conv_pos_embedding_groups=config.groups,
            do_stable_layer_norm=config.norm == 'pre',
            attn_implementation='eager',
        )
    ).eval()
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if 'weight' in name and weight.ndim == 1:
                weight.normal_(1, 0.2)
            elif 'parametrizations' not in name:
                weight.normal_(0, 0.3)
    return module


def to_ours(module, config):
    """The parameters of Hugging Face's encoder as ours; the weight norm of the convolution is multiplied out."""
    heads, size = config.heads, config.width // config.heads
    array = lambda tensor: tensor.detach().numpy()  # noqa: E731

    def norm(layer):
        return {'scale': array(layer.weight), 'bias': array(layer.bias)}

    def block(layer):
        sides = [getattr(layer.attention, f'{side}_proj') for side in 'qkv']
        weights = [array(side.weight).T.reshape(config.width, heads, size) for side in sides]
        biases = [array(side.bias).reshape(heads, size) for side in sides]
        out, feed = layer.attention.out_proj, layer.feed_forward
        dense = (feed.intermediate_dense, feed.output_dense)
        return {
            'Attention_0': {
                'DenseGeneral_0': {'kernel': np.concatenate(weights, -1), 'bias': np.concatenate(biases, -1)},
                'DenseGeneral_1': {
                    'kernel': array(out.weight).T.reshape(heads, size, config.width),
                    'bias': array(out.bias),
                },
            },
            'FeedForward_0': {
                f'Dense_{i}': {'kernel': array(side.weight).T, 'bias': array(side.bias)} for i, side in enumerate(dense)
            },
            'LayerNorm_0': norm(layer.layer_norm),
            'LayerNorm_1': norm(layer.final_layer_norm),
        }

    conv = module.pos_conv_embed.conv
    return {
        'PositionalConv_0': {'kernel': array(conv.weight).transpose(2, 1, 0), 'bias': array(conv.bias)},
        'LayerNorm_0': norm(module.layer_norm),
        'Stack_0': {f'block_{index}': block(layer) for index, layer in enumerate(module.layers)},
    }


@NORMS
@pytest.mark.parametrize('kernel', [8, 5])
def test_context_network_equals_hugging_face(wav2vec2, norm, kernel):
    """At the valid frames of rows of different lengths: the hidden frames, and the output of every block."""
    config = TransformerConfig(layers=3, width=16, heads=2, expansion=3, kernel=kernel, groups=4, norm=norm)
    module = reference(wav2vec2, config)
    x = np.random.default_rng(0).standard_normal((BATCH, TIME, config.width)).astype(np.float32)
    valid = np.arange(TIME) < LENGTHS[:, None]
    outputs = []
    for layer in module.layers:
        layer.register_forward_hook(lambda layer, given, output: outputs.append(output))
    with torch.no_grad():
        expected = module(torch.tensor(x), attention_mask=torch.tensor(valid)).last_hidden_state
    params = to_ours(module, config)
    apply = jax.jit(lambda params: TransformerContext(config).apply({'params': params}, x, jnp.asarray(LENGTHS), False))
    hidden, layers = apply(params)

    def difference(ours, theirs):
        return np.abs(np.asarray(ours)[valid] - theirs.numpy()[valid]).max()

    assert difference(hidden, expected) < 1e-4
    for ours, theirs in zip(layers, outputs, strict=True):
        assert difference(ours, theirs) < 1e-4
    assert np.abs(np.asarray(hidden)[valid]).max() > 1


def parameters(module, *arguments):
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *arguments))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize(
    ('norm', 'layers', 'width', 'heads', 'published'),
    [('post', 12, 768, 12, 94_371_712), ('pre', 24, 1024, 16, 315_438_720)],
    ids=['base', 'large'],
)
def test_number_of_parameters(norm, layers, width, heads, published):
    """Of Hugging Face's Base and Large: all but its front end on waveforms and the lengths of its weight norm."""
    config = TransformerConfig(layers=layers, width=width, heads=heads, norm=norm)
    latents = jnp.zeros((1, 4, width)), jnp.full((1,), 4)
    ours = parameters(TransformerContext(config), *latents, False)
    bias, norms = (512, 7) if norm == 'pre' else (0, 1)
    waveform = 512 * 10 + 4 * 512 * 512 * 3 + 2 * 512 * 512 * 2 + 7 * bias + norms * 2 * 512
    projection, mask = 2 * 512 + (512 + 1) * width, width
    assert ours == published - waveform - projection - mask - config.kernel


def test_encoder_of_the_base_size():
    """Convolutional subsampling of 80 mels instead of the front end on waveforms."""
    encoder = transformer(TransformerConfig(layers=12, width=768, heads=12, channels=512))
    context = parameters(encoder.context, jnp.zeros((1, 4, 768)), jnp.full((1,), 4), False)
    assert parameters(encoder, jnp.zeros((1, 64, 80)), jnp.full((1,), 64), False) == context + 1_910_528
