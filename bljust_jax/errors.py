"""The one exception type whose message is meant for the person at the keyboard."""


class UserError(ValueError):
    """A user's mistake (flag, config field, file): one clear sentence that says what to do.

    Command-line entry points print the message without a traceback and exit with code 2
    (see `bljust_jax.cli`). Mistakes of a programmer calling the library are plain `ValueError`s.
    """
