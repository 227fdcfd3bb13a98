"""Serves a student with an OpenAI-compatible API, on a GPU or a CPU, one request at a time.

Templates, generation and replies are those of the Transformers library's own server; what reaches them is not: an
application of five paths passes on only requests that the model answers as they ask.
"""
