"""What an audit finds, and the file and the table that tell it."""

import enum
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bljust_jax.errors import UserError
from bljust_jax.files import write_atomically

AUDIT_FILE = 'audit.json'
_VERSION = 2  # of the rules: raised when the same corpus may be judged otherwise


class Kind(enum.StrEnum):
    """What two splits have in common."""

    SAME_AUDIO = 'same audio'
    SIMILAR_AUDIO = 'similar audio'  # the same recording, re-encoded, louder, shifted, noisier, or inside a longer one
    SAME_ID = 'same id'
    SAME_SPEAKER = 'same speaker'
    SAME_TEXT = 'same transcript'
    IN_LM_TEXT = 'in the LM text'


AUDIO = frozenset({Kind.SAME_AUDIO, Kind.SIMILAR_AUDIO})


@dataclass(frozen=True)
class Finding:
    """What one split has in common with another, in one respect.

    Attributes:
        kind: in which respect.
        error: False for a note, which may be as intended.
        split: `CORPUS/SPLIT`; of the two, the one that is tested on, if only one is.
        other: the other one, or the file of the LM text.
        count: how many of `split` there are: utterances, speakers or different transcripts.
        total: of how many.
        examples: a few of them, what they are in `split` and in `other`.
    """

    kind: Kind
    error: bool
    split: str
    other: str
    count: int
    total: int
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Audit:
    """All findings, and the splits that were compared, as `CORPUS/SPLIT` to the number of utterances."""

    splits: dict[str, int]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that are errors."""
        return tuple(finding for finding in self.findings if finding.error)

    def leaks_into(self, splits: Iterable[str]) -> tuple[Finding, ...]:
        """The findings of audio that is tested on and is in one of `splits`, each `CORPUS/SPLIT`."""
        splits = set(splits)
        return tuple(finding for finding in self.errors if finding.kind in AUDIO and finding.other in splits)

    def table(self) -> str:
        """For people: the worst first."""
        names = ', '.join(self.splits)
        if not self.findings:
            return f'Nothing is shared between {names}.'
        rows = [('', 'what', 'of', 'in', 'how many', 'such as')]
        for finding in sorted(self.findings, key=lambda finding: not finding.error):
            severity, example = 'ERROR' if finding.error else 'note', finding.examples[0]
            shown = example[0] if example[0] == example[1] or not example[1] else ' = '.join(example)
            count = f'{finding.count:,} of {finding.total:,}'
            rows.append((severity, finding.kind.value, finding.split, finding.other, count, _shortened(shown)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return '\n'.join(
            '  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        )

    def save(self, folder: Path) -> None:
        """Writes `audit.json` into the folder of a corpus."""
        content: dict[str, Any] = {
            'version': _VERSION,
            'splits': self.splits,
            'findings': [asdict(finding) for finding in self.findings],
        }
        write_atomically(folder / AUDIT_FILE, json.dumps(content, indent=1, ensure_ascii=False) + '\n')


def read_audit(folder: Path) -> Audit | None:
    """The audit of the corpus in `folder`; None if there has been none, or by other rules.

    Raises:
        UserError: its file is damaged.
    """
    path = folder / AUDIT_FILE
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        if content.get('version') != _VERSION:
            return None
        findings = [
            Finding(**{**row, 'kind': Kind(row['kind']), 'examples': tuple(map(tuple, row['examples']))})
            for row in content['findings']
        ]
        return Audit(dict(content['splits']), tuple(findings))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f'{path} is damaged: delete it and run "python -m bljust_jax.audit" again.') from error


def _shortened(text: str, width: int = 60) -> str:
    return text if len(text) <= width else f'{text[: width - 1]}…'
