"""What a reply says: labels, options, numbers, JSON and reasoning, read from text alone.

A parser that would have to guess says that the reply is unreadable. What an answer is worth is a task's to say."""
