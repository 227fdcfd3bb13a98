"""The student model: found, loaded, trained, merged and saved.

The evaluation of a model belongs in evaluation/."""
