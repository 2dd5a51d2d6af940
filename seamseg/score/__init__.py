"""Evaluation of result files against annotation files, without a model."""
