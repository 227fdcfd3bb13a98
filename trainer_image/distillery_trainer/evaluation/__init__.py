"""The evaluation on held-out rows: the systems, their replies, and the scores of the result table.

How a single answer is read and scored, a task decides (tasks/). Loading a model belongs in student/."""
