"""A supervised training step of a Conformer-CTC of 12.2M parameters, against PyTorch with torchaudio's Conformer.

    python -m benchmarks.step [--repeats=9] [--no-compile]

Both sides: 8 blocks of width 256 (feed-forward 1024, 4 heads, kernel 31), dropout 0.1 at the same places, batches of 8
rows of 250 frames and 60 labels out of 32, float32, CTC, AdamW; forward, backward and update. Features are given, not
computed. PyTorch runs eagerly and through `torch.compile`. The target is 0.65 of eager's time, and less than compiled.
"""

import argparse
import importlib.util
import sys
from typing import Any

import numpy as np

from benchmarks.side_by_side import Call, alternate, print_result

BATCH, TIME, WIDTH, LAYERS, HEADS, KERNEL, VOCAB, LABELS, DROPOUT = 8, 250, 256, 8, 4, 31, 32, 60, 0.1


def batch() -> dict[str, np.ndarray]:
    """Features `[batch, time, width]`, labels `[batch, label]` and the lengths of both, full ones."""
    generator = np.random.default_rng(0)
    return {
        'features': generator.standard_normal((BATCH, TIME, WIDTH), np.float32),
        'lengths': np.full(BATCH, TIME, np.int32),
        'labels': generator.integers(1, VOCAB, (BATCH, LABELS), np.int32),
        'label_lengths': np.full(BATCH, LABELS, np.int32),
    }


def ours() -> Call:
    """The blocks, head and loss of this package, with optax's AdamW."""
    from bljust_jax.memory import keep_freed_memory

    keep_freed_memory()
    import jax
    import jax.numpy as jnp
    import optax
    from flax import linen as nn

    from bljust_jax.config import ConformerConfig
    from bljust_jax.losses import ctc_loss
    from bljust_jax.models.conformer import ConformerBlock
    from bljust_jax.models.heads import LinearHead

    class Recogniser(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array, lengths: jax.Array) -> jax.Array:
            config = ConformerConfig(width=WIDTH, heads=HEADS, kernel=KERNEL, dropout=DROPOUT)
            for _ in range(LAYERS):
                x = ConformerBlock(config)(x, lengths, True)
            return LinearHead(VOCAB)(x)

    given = {name: jnp.asarray(value) for name, value in batch().items()}
    model, optimizer = Recogniser(), optax.adamw(1e-4)

    def init() -> Any:
        key = jax.random.key(0)
        params = model.init({'params': key, 'dropout': key}, given['features'], given['lengths'])
        return params, optimizer.init(params), jnp.int32(0)

    def step(state: Any, given: dict[str, jax.Array]) -> tuple[Any, jax.Array]:
        params, moments, count = state

        def loss(params: Any) -> jax.Array:
            rngs = {'dropout': jax.random.fold_in(jax.random.key(0), count)}
            logits = model.apply(params, given['features'], given['lengths'], rngs=rngs)
            return ctc_loss(logits, given['lengths'], given['labels'], given['label_lengths']).sum() / (BATCH * LABELS)

        value, grads = jax.value_and_grad(loss)(params)
        updates, moments = optimizer.update(grads, moments, params)
        return (optax.apply_updates(params, updates), moments, count + 1), value

    state = jax.jit(init)()
    print(f'ours: {sum(leaf.size for leaf in jax.tree.leaves(state[0])) / 1e6:.2f}M parameters', flush=True)
    run = jax.jit(step, donate_argnums=0)

    def call() -> None:
        nonlocal state
        state, value = run(state, given)
        value.block_until_ready()

    return call


def eager() -> Call:
    """PyTorch, operation by operation."""
    return _torch(compiled=False)


def compiled() -> Call:
    """PyTorch through `torch.compile`."""
    return _torch(compiled=True)


def _torch(*, compiled: bool) -> Call:
    import torch

    # torchaudio's package cannot be imported beside another build of PyTorch; this file of it needs PyTorch alone.
    package = importlib.util.find_spec('torchaudio')
    if package is None or package.submodule_search_locations is None:
        raise SystemExit("torchaudio is not installed: pip install -e '.[bench]' (make bench does it).")
    path = f'{package.submodule_search_locations[0]}/models/conformer.py'
    spec = importlib.util.spec_from_file_location('torchaudio_conformer', path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # torch.compile looks it up there
    spec.loader.exec_module(module)

    torch.manual_seed(0)
    torch._dynamo.config.capture_scalar_outputs = True  # the longest row's length, without a break of the graph
    conformer = module.Conformer(WIDTH, HEADS, 4 * WIDTH, LAYERS, KERNEL, dropout=DROPOUT)
    for layer in conformer.conformer_layers:
        layer.self_attn.dropout = 0.0  # on the attention weights, where ours has none either
    head = torch.nn.Linear(WIDTH, VOCAB)
    parameters = [*conformer.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)
    given = {name: torch.from_numpy(value).long() for name, value in batch().items() if name != 'features'}
    features = torch.from_numpy(batch()['features'])

    def forward(features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return head(conformer(features, lengths)[0]).log_softmax(-1)

    run = torch.compile(forward) if compiled else forward

    def call() -> None:
        log_probs = run(features, given['lengths']).transpose(0, 1)
        loss = torch.nn.functional.ctc_loss(
            log_probs, given['labels'], given['lengths'], given['label_lengths'], reduction='sum'
        )
        optimizer.zero_grad()
        (loss / (BATCH * LABELS)).backward()
        optimizer.step()

    name = 'PyTorch compiled' if compiled else 'PyTorch eager'
    print(f'{name}: {sum(p.numel() for p in parameters) / 1e6:.2f}M parameters', flush=True)
    return call


def main() -> None:
    """Times all sides by turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=int, default=9)
    parser.add_argument('--no-compile', action='store_true', help='leave out torch.compile')
    options = parser.parse_args()
    setups = {'ours': ours, 'PyTorch eager': eager} | ({} if options.no_compile else {'PyTorch compiled': compiled})
    timings = alternate(setups, repeats=options.repeats)
    ratios = {name: round(timings['ours'].median / timing.median, 3) for name, timing in timings.items()}
    print_result('step', ratios['PyTorch eager'], compiled=ratios.get('PyTorch compiled'))


if __name__ == '__main__':
    main()
