"""Keys of a corpus of images with text that dictionaries are trained on in the place of the benchmarks' training expressions."""

from typing import Annotated, Literal

from pydantic import Field

from segcompass.study.section import Section


class CorpusSettings(Section):
    """Images with text, read as a stream from files on this machine; nothing is fetched (docs/data.md, Corpora)."""

    source: Literal["interleaved", "captions"]
    """`interleaved`: shards of documents in which pictures and paragraphs alternate, as OBELICS has them, or of pictures with captions;
    Parquet or tar (WebDataset). `captions`: a folder of pictures with a text beside each."""
    path: Annotated[str, Field(min_length=1)]
    """The folder."""
    characters: Annotated[int, Field(ge=1, le=10_000)]
    """Longest text; of a longer one the words that fit are read."""
