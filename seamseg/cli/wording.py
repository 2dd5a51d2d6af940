"""Words that several verbs say."""


def counted(number: int, noun: str) -> str:
    """Such as ``1 image`` or ``5,000 images``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
