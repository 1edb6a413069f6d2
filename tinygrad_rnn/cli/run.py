"""A run: what is being trained on what, how far it is, and the folder it is kept in."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field, fields
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from .. import data, io, nn, optim
from ..tensor import Tensor

CHECKPOINT, CURVE, GRAPH = "checkpoint.safetensors", "loss.svg", "graph.svg"


@dataclass(frozen=True)
class Settings:
    """Everything that decides what a run computes."""

    text: str | None = None
    cell: str = "lstm"
    hidden: int = 256
    layers: int = 1
    embedding: int = 64
    dropout: float = 0.0
    batch: int = 24
    window: int = 48
    epochs: int = 6
    lr: float = 5e-3
    seed: int = 0


@dataclass
class Corpus:
    """A text as numbers: most of it to learn from, the last tenth held out to be judged by."""

    vocabulary: data.Vocabulary
    learnt: np.ndarray
    held_out: np.ndarray
    digest: str

    @classmethod
    def of(cls, settings: Settings) -> Corpus:
        text = data.default_text() if settings.text is None else data.read_text(settings.text)
        vocabulary = data.Vocabulary(text)
        index = vocabulary.encode(text)
        cut = _cut(len(index))
        least = next(n for n in count(20) if _cut(n) > 2 * settings.batch)
        if len(index) < least:
            raise data.TextError(
                f"{settings.text} is too short: {len(text)} characters, while {settings.batch} "
                f"streams of two steps need {least}. Give a longer text or a smaller --batch."
            )
        digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
        return cls(vocabulary, index[:cut], index[cut:], digest)


def _cut(length: int) -> int:
    """Where the last tenth of a text begins."""
    return length - length // 10


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
        rng = np.random.default_rng(settings.seed)
        model = nn.LanguageModel(
            len(characters),
            cell=settings.cell,
            hidden=settings.hidden,
            layers=settings.layers,
            embedding=settings.embedding,
            dropout=settings.dropout,
            rng=rng,
        )
        optimizer = optim.Adam(model, lr=settings.lr)
        return cls(folder, settings, characters, digest, model, optimizer, rng)

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        arrays = {f"model/{name}": array for name, array in self.model.state_dict().items()}
        arrays |= {f"adam/{name}": array for name, array in self.optimizer.state_dict().items()}
        for k, cell in enumerate(self.state or ()):
            arrays |= {f"state/{k}/{i}": x.data for i, x in enumerate(cell)}
        arrays["bits"] = np.array(self.bits)
        arrays["judged"] = np.array(self.judged, np.float64).reshape(-1, 2)
        metadata = {
            "settings": asdict(self.settings),
            "characters": self.characters,
            "digest": self.digest,
            "epoch": self.epoch,
            "done": self.done,
            "random": self.rng.bit_generator.state,
        }
        io.save(self.folder / CHECKPOINT, arrays, metadata)

    @classmethod
    def load(cls, path: str | Path) -> Run:
        """A run from its folder or checkpoint file; CheckpointError says what is wrong."""
        path = Path(path)
        file = path / CHECKPOINT if path.is_dir() else path
        if not file.exists():
            raise io.CheckpointError(f"there is no run at {path}; tinygrad-rnn train makes one")
        arrays, metadata = io.load(file)
        try:
            known = {f.name for f in fields(Settings)}
            settings = Settings(**{k: v for k, v in metadata["settings"].items() if k in known})
            run = cls._made(file.parent, settings, metadata["characters"], metadata["digest"])
            run.model.load_state_dict(_under("model/", arrays))
            run.optimizer.load_state_dict(_under("adam/", arrays))
            run.epoch, run.done = int(metadata["epoch"]), int(metadata["done"])
            run.rng.bit_generator.state = metadata["random"]
            run.bits = arrays["bits"].tolist()
            run.judged = [(int(k), bits) for k, bits in arrays["judged"]]
            run.state = _state(_under("state/", arrays), run.model)
        except (KeyError, TypeError, AttributeError) as error:
            raise io.CheckpointError(
                f"{file} is a checkpoint, but not of a run of this program: {error!r}"
            ) from None
        except ValueError as error:
            raise io.CheckpointError(f"{file} does not fit the model it names: {error}") from None
        return run


def _under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _state(arrays: dict[str, np.ndarray], model: nn.LanguageModel) -> Any:
    if not arrays:
        return None
    return tuple(
        tuple(Tensor(arrays[f"{k}/{i}"]) for i in range(len(cell.state)))
        for k, cell in enumerate(model.recurrent.cells)
    )


def fresh_folder(cell: str) -> Path:
    """runs/lstm-1, or the first number that is free."""
    for number in range(1, 1_000_000):
        folder = Path("runs") / f"{cell}-{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise OSError("runs/ is full")
