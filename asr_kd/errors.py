"""Errors that are for people: what was wrong, where, what was expected, what to do."""

from collections.abc import Sequence

_SHOWN_FAULTS = 50


class AsrKdError(Exception):
    """Anything that ends a command with a message rather than a traceback."""

    exit_code = 1


class InputError(AsrKdError):
    """Faults of an input, all of them together, found before any work was done.

    Args:
        faults: one line per fault, each naming its place (file, line, utterance id).
    """

    exit_code = 2

    def __init__(self, faults: str | Sequence[str]) -> None:
        self.faults: list[str] = [faults] if isinstance(faults, str) else list(faults)
        shown = self.faults[:_SHOWN_FAULTS]
        if len(self.faults) > len(shown):
            shown = [*shown, f"... and {len(self.faults) - len(shown)} more"]
        super().__init__("\n".join(shown))

    def __reduce__(self) -> tuple[type["InputError"], tuple[list[str]]]:
        # Worker processes send their errors home by pickle; the faults must survive the trip.
        return type(self), (self.faults,)
