"""The reference of all fields of a Distillation, as a page: the words of `kubectl explain`, with the rules and links.

`python -m distillery_api.manifest_reference > docs/manifest.md` writes the page.
"""
