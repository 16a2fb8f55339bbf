"""The phones that a sequence of labels runs through, and the neighbours of each."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_kd.errors import InputError
from asr_kd.labels.lang import Lang


class Contexts(NamedTuple):
    """The state of each frame and its phone's neighbours, all int32 (T,).

    Attributes:
        label: phone and state, as in `topology.label_set()`.
        left: number of the phone before; the number of phones is the utterance's edge.
        right: number of the phone behind.
    """

    label: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]


class PhonePaths:
    """Cuts label sequences of a language into phones.

    A step that is no transition inside a phone begins another; so does one from a label to another
    of the same state, which a phone in its context cannot take. Phones of one state that follow
    themselves with the same label are therefore one: nothing tells them apart.

    Args:
        lang: the language of the labels, tied or not.

    Attributes:
        phones: their names in the order of their numbers, that of the topology.
    """

    def __init__(self, lang: Lang) -> None:
        self.phones = tuple(lang.topology.hmms)
        self._names = lang.topology.label_set().names
        self._monophone = lang.monophone_label
        sizes = [hmm.num_states for hmm in lang.topology.hmms.values()]
        self._phone_of = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        num = len(self._phone_of)
        self._begins, self._ends = np.zeros(num, bool), np.zeros(num, bool)
        self._inside = np.zeros((num, num), bool)
        for phone, hmm in lang.topology.hmms.items():
            first = lang.topology.first_pdf[phone]
            self._begins[first] = True
            for state, row in enumerate(hmm.transitions):
                for to, _ in row:
                    if to == hmm.num_states:
                        self._ends[first + state] = True
                    else:
                        self._inside[first + state, first + to] = True

    def contexts(self, pdf_ids: NDArray[np.int32]) -> Contexts:
        """What each frame's state stands between.

        Args:
            pdf_ids: (T,) labels of the language, of a whole utterance.

        Raises:
            InputError: saying where, if they are no path through the phones' HMMs.
        """
        if pdf_ids.ndim != 1 or not len(pdf_ids):
            raise InputError(f"labels of shape {pdf_ids.shape}; expected one for each frame")
        if not 0 <= pdf_ids.min() <= pdf_ids.max() < len(self._monophone):
            raise InputError(
                f"labels {pdf_ids.min()} to {pdf_ids.max()} of a language of "
                f"{len(self._monophone)}: an alignment of another language?"
            )
        label = self._monophone[pdf_ids]
        border = ~self._inside[label[:-1], label[1:]]
        border |= (label[:-1] == label[1:]) & (pdf_ids[:-1] != pdf_ids[1:])
        wrong = border & ~(self._ends[label[:-1]] & self._begins[label[1:]])
        faults = []
        if wrong.any():
            t = int(np.argmax(wrong))
            ours, theirs = self._names[label[t]], self._names[label[t + 1]]
            faults.append(f"no transition leads from {ours} (frame {t}) to {theirs}")
        if not self._begins[label[0]]:
            faults.append(f"begins inside a phone, with {self._names[label[0]]}")
        if not self._ends[label[-1]]:
            faults.append(f"ends inside a phone, with {self._names[label[-1]]}")
        if faults:
            raise InputError(f"{'; '.join(faults)}: an alignment with another topology?")
        starts = np.concatenate([[0], np.flatnonzero(border) + 1])
        edge = np.array([len(self.phones)], np.int32)
        sequence = np.concatenate([edge, self._phone_of[label[starts]], edge])
        lengths = np.diff(np.append(starts, len(label)))
        left, right = (np.repeat(side, lengths) for side in (sequence[:-2], sequence[2:]))
        return Contexts(label, left, right)
