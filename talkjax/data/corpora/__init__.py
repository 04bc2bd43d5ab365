"""Corpora as tensorflow-datasets builders, written as array_record: no TensorFlow to build, none to read.

One file per builder; `base` is what they share, `records` says what one example holds, `corpus` opens what
was built. docs/corpora.md says how to get and build each.
"""
