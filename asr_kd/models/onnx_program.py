"""ONNX programs, run by ONNX Runtime on the CPU. This file does not need torch."""

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from asr_kd.errors import InputError

Floats = NDArray[np.float32]
_INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


class OnnxProgram:
    """A program whose first input are features (B,T,F), and whose outputs are scores (B,T',V).

    Args:
        path: the file.
        takes_lengths: whether its second input is the number of frames (B,).
        output: which of its outputs are the scores.
        threads: that it uses.

    Raises:
        InputError: if it cannot be loaded, or has other inputs or outputs.
    """

    def __init__(
        self, path: Path, takes_lengths: bool = False, output: int = 0, threads: int = 1
    ) -> None:
        self.path = Path(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Threads that wait for work in a loop would take the time of other processes' cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        if not self.path.is_file():
            raise InputError(f"{path}: no such file")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the library's errors have no common base but this
            raise InputError(f"{path}: ONNX Runtime cannot load it: {error}") from None
        self._inputs = self._session.get_inputs()
        self._takes_lengths = takes_lengths
        self._output = self._checked_output(output)

    def _checked_output(self, output: int) -> str:
        said = ", ".join(f"{x.name} {x.type} {x.shape}" for x in self._inputs)
        faults = []
        if len(self._inputs) != 1 + self._takes_lengths:
            wanted = "features and lengths" if self._takes_lengths else "features alone"
            faults.append(f"{self.path}: inputs {said}; expected {wanted} (see takes_lengths)")
        elif self._inputs[0].type != "tensor(float)" or len(self._inputs[0].shape) != 3:
            faults.append(f"{self.path}: inputs {said}; expected float features (B,T,F)")
        elif self._takes_lengths and self._inputs[1].type not in _INTEGERS:
            faults.append(f"{self.path}: inputs {said}; expected whole numbers as lengths")
        outputs = self._session.get_outputs()
        if output >= len(outputs):
            names = ", ".join(x.name for x in outputs)
            faults.append(f"{self.path}: no output {output}; it has {names}")
        if faults:
            raise InputError(faults)
        return str(outputs[output].name)

    def __call__(self, feats: Floats, lengths: NDArray[np.int64]) -> Floats:
        """Features (B,T,F), lengths (B,) -> scores (B,T',V).

        Raises:
            InputError: with what ONNX Runtime says, if the program fails on them.
        """
        values: dict[str, NDArray] = {self._inputs[0].name: np.ascontiguousarray(feats)}
        if self._takes_lengths:
            values[self._inputs[1].name] = lengths.astype(_INTEGERS[self._inputs[1].type])
        try:
            (scores,) = self._session.run([self._output], values)
        except Exception as error:  # as above
            raise InputError(f"{self.path}: failed on features {feats.shape}: {error}") from None
        return np.asarray(scores, np.float32)
