"""Units that are the characters of another's CTC model, each behind its word the word's end.

Models of fairseq's manner (wav2vec 2.0, HuBERT) spell `HELLO|WORLD|`: the mark of words ends them,
the last one too. Units of `train-units` begin words with it. The two are other sequences, which no
map of labels makes one; sentencepiece knows both.
"""

import io
from collections.abc import Sequence

import sentencepiece

from asr_kd.errors import InputError
from asr_kd.labels.units import BLANK_NAME, WORD_START, Units
from asr_kd.score.normalise import Normaliser


def character_units(names: Sequence[str], ours: Normaliser) -> Units:
    """Units whose label set is the blank, the end of words, and the characters, in this order.

    Args:
        names: of labels 1 and on: the end of words as `WORD_START`, then single characters.
        ours: what is done to text before.

    Raises:
        InputError: for labels that are no such characters.
    """
    letters = names[1:]
    spoken = [name for name in letters if len(name) == 1 and name.strip() and name != WORD_START]
    if not letters or names[0] != WORD_START or len(set(spoken)) < len(letters):
        raise InputError(
            f"labels {' '.join(names)}: expected the mark of words and then different characters"
        )
    # sentencepiece sorts characters by how often they are: the k-th is to be there once less than
    # the one before. Each is a word of its own, so that ends of words are the most frequent.
    words = [name for k, name in enumerate(letters) for _ in range(len(letters) - k)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(words)]),
        model_writer=model,
        model_type="char",
        vocab_size=len(names) + 1,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        treat_whitespace_as_suffix=True,
        unk_id=0, bos_id=-1, eos_id=-1, pad_id=-1,
        max_sentence_length=max(10, 8 * len(words)),
        num_threads=1,
        minloglevel=2,
    )  # fmt: skip
    units = Units("char", model.getvalue(), ours)
    if units.label_set.names != (BLANK_NAME, *names):
        raise InputError(f"labels {' '.join(names)}: sentencepiece cannot have them in this order")
    return units


def ends_words(units: Units) -> bool:
    """Whether the mark of words stands behind them, rather than before."""
    letter = next(name for name in units.label_set.names[1:] if WORD_START not in name)
    spelled = units.spell([letter])
    return units.label_set.names[spelled[-1]].endswith(WORD_START)
