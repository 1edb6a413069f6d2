"""A run: what is being trained on what, how far it is, and the folder it is kept in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from reprlib import repr as short
from typing import Any

import numpy as np

from .. import data, io, nn, optim
from ..randomness import generator
from ..tensor import Tensor
from .limits import Settings, check, weights

LATER = {"encoding", "max_bytes", "patience", "threads"}  # settings that a run of 0.1.0 lacks
CHECKPOINT, BEST, CURVE, GRAPH = (
    "checkpoint.safetensors",
    "best.safetensors",
    "loss.svg",
    "graph.svg",
)


@dataclass
class Corpus:
    """A text as numbers: most of it to train on, the last tenth held out to be judged by."""

    vocabulary: data.Vocabulary
    training: np.ndarray
    held_out: np.ndarray
    digest: str

    @classmethod
    def of(cls, settings: Settings, vocabulary: data.Vocabulary | None = None) -> Corpus:
        """The text of the settings; in the letters of `vocabulary`, or else in its own."""
        text, name = data.default_text(), settings.text
        if name is not None:
            text = data.read_text(name, encoding=settings.encoding, max_bytes=settings.max_bytes)
        vocabulary = vocabulary or data.Vocabulary(text)
        try:
            index = vocabulary.encode(text)
        except data.TextError as error:  # the letters are those of another text
            raise data.TextError(f"{name or 'the default text'}: {error} of that run") from None
        cut = len(index) - len(index) // 10
        least = max(20, 20 * settings.batch // 9 + 1)  # over two steps a stream to train on
        if len(index) < least:
            found = f"{name} is too short: {len(text)} characters"
            if least == 20:
                raise data.TextError(f"{found}, and at least 20 are needed. Give a longer text.")
            raise data.TextError(
                f"{found}, while {settings.batch} streams of two steps need {least}. Give a longer "
                "text or a smaller --batch."
            )
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return cls(vocabulary, index[:cut], index[cut:], digest)

    def windows(self, settings: Settings) -> int:
        """How many windows an epoch has."""
        return -(-self.steps(settings) // settings.window)

    def steps(self, settings: Settings) -> int:
        """How many steps each stream has in an epoch."""
        return (len(self.training) - 1) // settings.batch


@dataclass
class Run:
    """A model in training: `save` and `load` continue it bit for bit."""

    folder: Path
    settings: Settings
    characters: str
    digest: str
    model: nn.LanguageModel
    optimizer: optim.Adam
    rng: np.random.Generator
    state: Any = None
    epoch: int = 0
    done: int = 0  # windows of this epoch
    bits: list[float] = field(default_factory=list)  # a character, in each window
    judged: list[tuple[int, float]] = field(default_factory=list)  # (windows, held-out bits)

    @classmethod
    def new(cls, folder: Path, settings: Settings, corpus: Corpus) -> Run:
        return cls._made(folder, settings, corpus.vocabulary.characters, corpus.digest)

    @classmethod
    def _made(cls, folder: Path, settings: Settings, characters: str, digest: str) -> Run:
        rng = generator("train", settings.seed)
        how = {**settings.sizes(), "dropout": settings.dropout}
        model = nn.LanguageModel(len(characters), **how, rng=rng)
        optimizer = optim.Adam(model, lr=settings.lr)
        return cls(folder, settings, characters, digest, model, optimizer, rng)

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {f"model/{name}": array for name, array in self.model.state_dict().items()}
        arrays |= {f"adam/{name}": array for name, array in self.optimizer.state_dict().items()}
        for k, cell in enumerate(self.state or ()):
            arrays |= {f"state/{k}/{i}": x.data for i, x in enumerate(cell)}
        arrays["bits"] = np.array(self.bits)
        arrays["judged"] = np.array(self.judged, np.float64).reshape(-1, 2)
        return arrays

    @property
    def best(self) -> int:
        """The epoch that did best on the held-out text, 0 before the first."""
        costs = [bits for _, bits in self.judged]
        return costs.index(min(costs)) + 1 if costs else 0

    @property
    def over(self) -> bool:
        """Whether all epochs are done, or the last `patience` of them were no better."""
        patience = self.settings.patience or self.settings.epochs
        return self.epoch >= min(self.settings.epochs, self.best + patience)

    def save(self, name: str = CHECKPOINT) -> None:
        """Write the checkpoint, whole or not at all."""
        metadata = {
            "settings": asdict(self.settings),
            "characters": self.characters,
            "digest": self.digest,
            "epoch": self.epoch,
            "done": self.done,
            "random": self.rng.bit_generator.state,
        }
        io.save(self.folder / name, self._arrays(), metadata)

    @classmethod
    def load(cls, path: str | Path, name: str = CHECKPOINT) -> Run:
        """A run from its folder or checkpoint file; CheckpointError says what is wrong.

        name: which file of the folder, where it has that one. Nothing is made before the settings
        hold for the command line, and fit the arrays.
        """
        path = Path(path)
        file = path
        if path.is_dir():
            file = path / (name if (path / name).exists() else CHECKPOINT)
        if not file.exists():
            raise io.CheckpointError(f"there is no run at {path}; tinygrad-rnn train makes one")
        arrays, metadata = io.load(file)
        try:
            return cls._loaded(file.parent, arrays, metadata)
        except (KeyError, TypeError, AttributeError) as error:
            why = f"it has no {error}" if isinstance(error, KeyError) else error
            raise io.CheckpointError(
                f"{file} is a checkpoint, but not of a run of this program: {why}"
            ) from None
        except (ValueError, ArithmeticError) as error:
            raise io.CheckpointError(f"{file} is damaged: {error}") from None

    @classmethod
    def _loaded(cls, folder: Path, arrays: dict[str, np.ndarray], facts: Mapping[str, Any]) -> Run:
        settings, characters = _settings(facts["settings"]), facts["characters"]
        if (
            type(characters) is not str
            or not characters
            or characters != "".join(sorted(set(characters)))
        ):
            raise ValueError(f"its characters: expected each once, in order: {short(characters)}")
        if type(facts["digest"]) is not str:
            raise ValueError(f"its digest: expected text, got {short(facts['digest'])}")
        check({name: facts[name] for name in ("epoch", "done")}, "its {}".format)
        there = sum(x.size for x in _under("model/", arrays).values())
        if weights(len(characters), **settings.sizes()) > there:
            sizes = ", ".join(f"{name} {short(size)}" for name, size in settings.sizes().items())
            raise ValueError(f"its {there:,} weights are too few for {sizes}")
        run = cls._made(folder, settings, characters, facts["digest"])
        run.model.load_state_dict(_under("model/", arrays))
        run.optimizer.load_state_dict(_under("adam/", arrays))
        run.epoch, run.done = facts["epoch"], facts["done"]
        try:
            run.rng.bit_generator.state = facts["random"]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"its random state is not one of a generator: {error}") from None
        run.bits = [float(x) for x in arrays["bits"]]
        run.judged = [(int(k), bits) for k, bits in arrays["judged"].reshape(-1, 2)]
        run.state = _state(arrays, run.model)
        run._check_arrays(arrays)
        return run

    def _check_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Refuse arrays that this run could not have saved."""
        ours = self._arrays()
        missing, unknown = sorted(ours.keys() - arrays.keys()), sorted(arrays.keys() - ours.keys())
        if missing or unknown:
            raise ValueError(f"its arrays lack {missing} and have {unknown}, which no run has")
        for name, one in ours.items():
            other = arrays[name]
            if (one.dtype, one.shape) != (other.dtype, other.shape):
                got = f"{other.dtype}{list(other.shape)}, expected {one.dtype}{list(one.shape)}"
                raise ValueError(f"array {name!r} is {got}")
            if one.tobytes() != other.tobytes():
                raise ValueError(f"array {name!r} holds what no run saves")
        count = self.optimizer.steps
        counts = [x.item() for name, x in arrays.items() if name.startswith("adam/count/")]
        known = all(type(x) is int and 0 < x <= count for x in counts)
        if not known or count != len(self.bits):
            raise ValueError(
                f"Adam's {count} steps, {counts}, are not its {len(self.bits)} windows"
            )
        if len(self.judged) != self.epoch or bool(self.done) != (self.state is not None):
            raise ValueError(
                f"epoch {self.epoch}, window {self.done} are not what it was trained on"
            )
        shape, dtype = (self.settings.batch, self.settings.hidden), self.model.output.W.dtype
        if any((x.shape, x.dtype) != (shape, dtype) for cell in self.state or () for x in cell):
            raise ValueError(f"its state is not {dtype}{list(shape)}")


def _settings(given: Any) -> Settings:
    """Settings from a file: by the rules of the command line, and none that we do not know."""
    if type(given) is not dict:
        raise ValueError(f"its settings: expected them by name, got {short(given)}")
    known = {f.name for f in fields(Settings)}
    unknown, missing = sorted(given.keys() - known), sorted(known - LATER - given.keys())
    if unknown:
        raise ValueError(f"it has settings of a newer tinygrad-rnn: {', '.join(unknown)}")
    if missing:
        raise ValueError(f"its settings lack {', '.join(missing)}")
    check(given, "its {}".format)
    return Settings(**given)


def _under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _state(arrays: dict[str, np.ndarray], model: nn.LanguageModel) -> Any:
    if not _under("state/", arrays):
        return None
    return tuple(
        tuple(Tensor(arrays[f"state/{k}/{i}"]) for i in range(len(cell.state)))
        for k, cell in enumerate(model.recurrent.cells)
    )


def fresh_folder(cell: str) -> Path:
    """runs/lstm-1, or the first number that is free."""
    runs = Path("runs")
    if not runs.is_dir() and (runs.exists() or runs.is_symlink()):
        raise ValueError(f"{runs} is no folder: name one with --out")
    runs.mkdir(exist_ok=True)
    for number in range(1, 1_000_000):
        folder = runs / f"{cell}-{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise OSError("runs/ is full")
