"""Corpus readers: `read_source` turns a source of the campaign file into documents and rejections."""

from subsets.readers.planted_words import PASSAGE, TOPIC
from subsets.readers.read import read_source
from subsets.readers.records import REASONS, Document, Rejected

__all__ = ["PASSAGE", "REASONS", "TOPIC", "Document", "Rejected", "read_source"]
