"""wav2vec 2.0's losses, against Hugging Face's model with the same weights, and against closed forms."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bljust_jax.losses.unsupervised.wav2vec2 import (
    contrastive,
    diversity,
    gumbel_temperature,
    perplexity,
    sample_distractors,
)
from bljust_jax.models.masked import Wav2Vec2Head

GROUPS, CODES, DIM, QUANTIZER_DIM, TEMPERATURE, WEIGHT, GUMBEL = 2, 5, 6, 8, 0.2, 0.3, 1.7
HEAD = Wav2Vec2Head(GROUPS, CODES, QUANTIZER_DIM, DIM)
ROWS, TIME, COUNT = 2, 39, 7
distractors = jax.jit(sample_distractors, static_argnames='count')


@pytest.fixture(scope='module')
def theirs():
    """Their model, at random; its outputs in training, where codes are drawn, and in evaluation, and the noise."""
    with pytest.MonkeyPatch.context() as patch:
        # transformers imports it where it is installed, and its libraries are of another PyTorch.
        patch.setitem(sys.modules, 'torchaudio', None)
        from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        hidden_dropout=0.0,
        activation_dropout=0.0,
        attention_dropout=0.0,
        layerdrop=0.0,
        conv_dim=(10, 10),
        conv_stride=(5, 4),
        conv_kernel=(10, 8),
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        num_codevector_groups=GROUPS,
        num_codevectors_per_group=CODES,
        codevector_dim=QUANTIZER_DIM,
        proj_codevector_dim=DIM,
        contrastive_logits_temperature=TEMPERATURE,
        diversity_loss_weight=WEIGHT,
    )
    model = Wav2Vec2ForPreTraining(config)
    model.set_gumbel_temperature(GUMBEL)
    return model


def masks():
    mask = np.random.default_rng(0).random((ROWS, TIME)) < 0.5
    mask[1, 20:] = False
    utterances = np.zeros((ROWS, TIME), np.int32)
    return mask, distractors(jax.random.key(0), mask, utterances, COUNT)


def run(model, training):
    """Loss, its parts, their gradients, and what goes into them: latents, hidden frames and Gumbel noise."""
    mask, places = masks()
    noise = []
    gumbel_softmax = torch.nn.functional.gumbel_softmax

    def noted(logits, **arguments):
        torch.manual_seed(1)
        noise.append(-torch.empty_like(logits).exponential_().log())
        torch.manual_seed(1)
        return gumbel_softmax(logits, **arguments)

    seen = {}

    def note(name):
        def hook(module, inputs):
            seen[name] = inputs[0].clone()  # others read the latents too
            seen[name].retain_grad()
            return (seen[name],)

        return hook

    hooks = [getattr(model, name).register_forward_pre_hook(note(name)) for name in ('quantizer', 'project_hid')]
    model.train(training)
    model.zero_grad()
    places = np.asarray(places) + TIME * np.arange(ROWS)[:, None, None]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, 'gumbel_softmax', noted)
        output = model(
            torch.randn(ROWS, 818, generator=torch.Generator().manual_seed(2)),
            mask_time_indices=torch.tensor(mask),
            sampled_negative_indices=torch.tensor(places),
        )
    output.loss.backward()
    for hook in hooks:
        hook.remove()
    noise = jnp.asarray(noise[0].reshape(ROWS, TIME, GROUPS, CODES).numpy()) if training else None
    return output, seen['quantizer'], seen['project_hid'], noise


def carried_over(model):
    """The parameters of our head, from theirs."""

    def dense(layer, shape=(-1,)):
        kernel = layer.weight.detach().numpy().T
        return {'kernel': kernel.reshape(*kernel.shape[:1], *shape), 'bias': layer.bias.detach().numpy().reshape(shape)}

    vectors = model.quantizer.codevectors.detach().numpy()
    return {
        'masking': {'embedding': model.wav2vec2.masked_spec_embed.detach().numpy()},
        'quantizer': {
            'DenseGeneral_0': dense(model.quantizer.weight_proj, (GROUPS, CODES)),
            'vectors': vectors.reshape(GROUPS, CODES, -1),
        },
        'project_q': dense(model.project_q),
        'project_hid': dense(model.project_hid),
    }


@pytest.mark.parametrize('training', [True, False])
def test_everything_equals_transformers(theirs, training):
    """Loss and parts; in training the gradients of head, latents and hidden frames too."""
    output, latents, hidden, noise = run(theirs, training)
    mask, places = masks()

    def losses(params, latents, hidden):
        variables = {'params': params}
        targets, quantized = HEAD.apply(variables, latents, noise, GUMBEL, method='targets')
        predicted = HEAD.apply(variables, hidden, method='predict')
        told, metrics = contrastive(predicted, targets, quantized.codes, mask, places, TEMPERATURE)
        spread = diversity(quantized.probabilities, mask)
        total = told.sum + WEIGHT * told.weight * spread
        return total, (told, spread, perplexity(quantized.probabilities, mask), metrics, predicted, targets)

    params = carried_over(theirs)
    arguments = params, jnp.asarray(latents.detach().numpy()), jnp.asarray(hidden.detach().numpy())
    grad = jax.jit(jax.value_and_grad(losses, argnums=(0, 1, 2), has_aux=True))
    (total, (told, spread, used, metrics, predicted, targets)), grads = grad(*arguments)
    assert float(told.weight) == mask.sum()
    np.testing.assert_allclose(total, output.loss.item(), rtol=1e-5)
    np.testing.assert_allclose(told.sum, output.contrastive_loss.item(), rtol=1e-5)
    np.testing.assert_allclose(spread * told.weight, output.diversity_loss.item(), rtol=1e-5)
    np.testing.assert_allclose(used.sum(), output.codevector_perplexity.item(), rtol=1e-5)
    np.testing.assert_allclose(predicted, output.projected_states.detach(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(targets, output.projected_quantized_states.detach(), rtol=1e-4, atol=1e-5)
    chance = metrics['chance'].sum / metrics['chance'].weight
    assert 1 / (1 + COUNT) < chance < 0.5, 'no distractor had the codes of the true frame: a case untested'
    expected = carried_over_gradient(theirs)
    if not training:
        # Their quantiser's choice has no gradient then, and nor has ours.
        assert not np.any(grads[0]['quantizer']['DenseGeneral_0']['kernel']) and not np.any(grads[1])
        expected['quantizer']['DenseGeneral_0'] = grads[0]['quantizer']['DenseGeneral_0']
    for one in ('quantizer', 'project_q', 'project_hid'):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), grads[0][one], expected[one])
    if training:
        np.testing.assert_allclose(grads[1], latents.grad, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(grads[2], hidden.grad, rtol=1e-3, atol=1e-4)


def carried_over_gradient(model):
    """`carried_over` of the gradients."""
    before = {name: parameter.data for name, parameter in model.named_parameters()}
    try:
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.data = parameter.grad.clone()
        return carried_over(model)
    finally:
        for name, parameter in model.named_parameters():
            parameter.data = before[name]


@settings(max_examples=25)
@given(st.integers(0, 2**31 - 1), st.floats(0.05, 0.9))
def test_distractors_are_other_masked_frames_of_the_utterance(seed, share):
    rng = np.random.default_rng(seed)
    mask = rng.random((3, 12)) < share
    utterances = np.sort(rng.integers(0, 3, (3, 12)), axis=1).astype(np.int32)
    places = np.asarray(distractors(jax.random.key(seed), mask, utterances, 4))
    assert places.shape == (3, 12, 4)
    for row, time in zip(*np.nonzero(mask), strict=True):
        peers = set(np.flatnonzero(mask[row] & (utterances[row] == utterances[row, time])))
        assert set(places[row, time]) <= (peers - {time} or {time})


def test_distractors_are_drawn_uniformly():
    mask = np.array([[True, False, True, True, True, True]])
    utterances = np.array([[0, 0, 0, 0, 1, 1]], np.int32)
    places = np.asarray(distractors(jax.random.key(0), mask, utterances, 9000))
    counts = np.bincount(places[0, 2], minlength=6)
    assert counts[0] + counts[3] == 9000 and abs(counts[0] - 4500) < 4 * np.sqrt(9000 / 4)
    assert (places[0, 4] == 5).all() and (places[0, 5] == 4).all()


def test_a_frame_without_distractors_costs_nothing():
    """All frames have the same codes, as in a collapsed codebook: nothing is told apart, and chance says so."""
    rng = np.random.default_rng(0)
    predicted, targets = rng.normal(size=(2, 1, 4, 3)).astype(np.float32)
    codes = np.zeros((1, 4, 2), np.int32)
    places = np.array([[[1, 2], [0, 2], [0, 1], [0, 0]]])
    loss, metrics = contrastive(predicted, targets, codes, np.ones((1, 4), bool), places, 0.1)
    np.testing.assert_allclose(loss.sum, 0, atol=1e-5)
    assert metrics['accuracy'].sum == metrics['chance'].sum == metrics['chance'].weight == 4


def test_the_temperature_falls_by_its_factor_down_to_the_lowest():
    values = [gumbel_temperature(jnp.int32(step), 2.0, 0.5, 0.999) for step in (0, 1, 100, 10**6)]
    np.testing.assert_allclose(values, [2, 1.998, 2 * 0.999**100, 0.5], rtol=1e-5)
    late = gumbel_temperature(jnp.int32(200_000), 2.0, 0.5, 0.999995)
    np.testing.assert_allclose(late, 2 * 0.999995**200_000, rtol=1e-5)


def test_diversity_runs_from_uniform_use_to_collapse():
    mask = np.array([[True] * 4 + [False]])
    spread = jax.nn.one_hot(np.array([[[0, 3], [1, 2], [2, 1], [3, 0], [0, 0]]]), 4)
    np.testing.assert_allclose(diversity(spread, mask), 0, atol=1e-6)
    np.testing.assert_allclose(diversity(jnp.full((1, 5, 2, 4), 0.25), mask), 0, atol=1e-6)
    collapsed = jax.nn.one_hot(np.zeros((1, 5, 2), np.int32), 4)
    np.testing.assert_allclose(diversity(collapsed, mask), 1 - 1 / 4, rtol=1e-6)
    assert diversity(collapsed, np.zeros((1, 5), bool)) == 0
