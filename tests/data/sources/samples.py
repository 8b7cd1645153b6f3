"""The same four utterances as manifests of every kind, beside their (empty) audio files."""

import gzip
import json
from pathlib import Path

NAMES = ('ann/a.wav', 'ann/b.flac', 'bob/c.wav', 'bob/d ü.wav')
TEXTS = ('hello there', 'one, "two", three', 'ünïcode text', '')
SPEAKERS = ('ann', 'ann', 'bob', 'bob')
STARTS = (0.0, 1.5, 0.0, 2.25)
SECONDS = (1.0, 2.5, 3.25, 1.0)
KINDS = ('nemo.jsonl', 'cuts.jsonl', 'cuts.jsonl.gz', 'comma.csv', 'semicolon.csv', 'tabs.tsv', 'kaldi', 'audio')


def write_all(folder: Path) -> Path:
    """Fills the new folder `folder`, whose folder `audio` holds the files."""
    for name, text in zip(NAMES, TEXTS, strict=True):
        path = folder / 'audio' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'RIFF')
        path.with_suffix('.txt').write_text(text, encoding='utf-8')
    rows = list(zip(NAMES, TEXTS, SPEAKERS, STARTS, SECONDS, strict=True))
    nemo, cuts = [], []
    for index, (name, text, speaker, start, seconds) in enumerate(rows):
        path = f'audio/{name}'
        nemo.append(
            {'audio_filepath': path, 'text': text, 'speaker': speaker, 'offset': start, 'duration': seconds}
            | {'id': f'u{index}', 'split': 'dev', 'pred_text': 'ignored'}
        )
        cuts.append(cut(f'u{index}', path, text, speaker, start, seconds))
    write_json_lines(folder / 'nemo.jsonl', nemo)
    write_json_lines(folder / 'cuts.jsonl', cuts)
    (folder / 'cuts.jsonl.gz').write_bytes(gzip.compress((folder / 'cuts.jsonl').read_bytes()))
    header = ['id', 'path', 'Sentence', 'client_id', 'start', 'seconds', 'split', 'up_votes']
    table = [[f'u{i}', f'audio/{n}', t, s, str(b), str(d), 'dev', '3'] for i, (n, t, s, b, d) in enumerate(rows)]
    for name, delimiter, start in (('comma.csv', ',', ''), ('semicolon.csv', ';', '\ufeffsep=;\r\n')):
        lines = [delimiter.join('"{}"'.format(value.replace('"', '""')) for value in row) for row in [header, *table]]
        (folder / name).write_bytes((start + '\r\n'.join(lines) + '\r\n').encode())
    (folder / 'tabs.tsv').write_text('\n'.join(map('\t'.join, [header, *table])) + '\n', encoding='utf-8')
    kaldi = folder / 'kaldi'
    kaldi.mkdir()
    write_lines(kaldi / 'wav.scp', [f'r{i} audio/{name}' for i, name in enumerate(NAMES)])
    ends = [start + seconds for start, seconds in zip(STARTS, SECONDS, strict=True)]
    write_lines(kaldi / 'segments', [f'u{i} r{i} {STARTS[i]} {ends[i]}' for i in range(4)])
    write_lines(kaldi / 'text', [f'u{i} {text}' for i, text in enumerate(TEXTS)])
    write_lines(kaldi / 'utt2spk', [f'u{i} {speaker}' for i, speaker in enumerate(SPEAKERS)])
    return folder


def cut(id: str, path: str, text: str, speaker: str, start: float, seconds: float) -> dict:
    """A cut as Lhotse writes it."""
    supervision = {'id': f'{id}-s', 'recording_id': f'{id}-r', 'start': 0.0, 'duration': seconds, 'channel': 0}
    recording = {'sampling_rate': 16000, 'num_samples': 160000, 'duration': 10.0, 'channel_ids': [0]}
    return {
        'id': id,
        'start': start,
        'duration': seconds,
        'channel': 0,
        'supervisions': [supervision | {'text': text, 'language': 'English', 'speaker': speaker}],
        'recording': {'id': f'{id}-r', 'sources': [{'type': 'file', 'channels': [0], 'source': path}]} | recording,
        'custom': {'split': 'dev'},
        'type': 'MonoCut',
    }


def write_json_lines(path: Path, rows: list[dict]) -> None:
    write_lines(path, [json.dumps(row, ensure_ascii=False) for row in rows])


def write_lines(path: Path, lines: list[str]) -> None:
    path.write_text(''.join(f'{line}\n' for line in lines), encoding='utf-8')
