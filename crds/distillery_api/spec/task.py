"""The tasks that can be distilled."""

from __future__ import annotations

from enum import StrEnum

NLI_LABELS = ("entailment", "neutral", "contradiction")


class Task(StrEnum):
    """The task that the student is trained for."""

    NLI = "NLI"
    MULTIPLE_CHOICE = "MultipleChoice"
    CLASSIFICATION = "Classification"
    MATH = "Math"
    SUMMARIZATION = "Summarization"
    CONVERSATION = "Conversation"
    TEXT = "Text"
    EXTRACTION = "Extraction"
    TOOL_CALLING = "ToolCalling"


LABEL_TASKS = (Task.NLI, Task.MULTIPLE_CHOICE, Task.CLASSIFICATION)
"""Tasks whose answer is one of a few labels."""
REASONING_TASKS = (Task.NLI, Task.MULTIPLE_CHOICE, Task.CLASSIFICATION, Task.MATH, Task.EXTRACTION)
"""Tasks with one answer that can be told right or wrong, which support chain of thought and a majority vote."""
CHAIN_OF_THOUGHT_TASKS = (*REASONING_TASKS, Task.TEXT)
"""Tasks that support chain of thought."""
PROSE_TASKS = (Task.SUMMARIZATION, Task.CONVERSATION, Task.TEXT)
"""Tasks whose answer is a text, which is compared with others by similarity."""
COMPARABLE_TASKS = (*REASONING_TASKS, Task.TOOL_CALLING)
"""Tasks in which two answers are the same or not, so that samples can vote, and gold can be agreed with."""
