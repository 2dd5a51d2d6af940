"""Scores and scored images as pictures for people."""
