"""Bytes of one format in, a title and paragraphs fit for quoting out."""
