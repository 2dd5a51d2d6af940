"""What the command returns when not all went well; beside these, 1: a check found faults."""

USER_ERROR = 2
"""Something that its user gave cannot be used, or a file cannot be read or written; a sentence says which and why."""
UNREADABLE = 3
"""Done, but for images that cannot be read."""
INTERRUPTED = 130
"""By Ctrl-C."""
